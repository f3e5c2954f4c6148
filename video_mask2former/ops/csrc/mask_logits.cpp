// Called from rle/kernels.py.
//
// Both resizes and the crop are linear and separable: a pixel is a mean of up to four rows and four columns of the
// logits, with weights that do not depend on the mask. A column of the frame is made by mixing columns of the logits
// once, and then rows of that mixture, only where its sign changes: elsewhere a whole stretch of pixels is decided by
// a few values. Weights are not negative, so a mean of values of one sign has that sign. Where a mean is so close to
// zero that the order of the sums could decide its sign, it is computed step by step as the two resizes would.

#include "mask_logits.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <new>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "library.h"
#include "rle.h"
#include "rle_runs.h"

namespace vm2f {
namespace {

// Largest error of a mean, as a part of the largest logit; sums of floats are a few 2^-24 off.
constexpr float kRelativeError = 4e-6f;

// Where a sample of a bilinear resize lies: between two neighbours.
struct Sample {
  int32_t first, second;
  float weight;  // of the second
};

Sample sample_at(int64_t position, int64_t source, int64_t target) {
  if (source == target) return {static_cast<int32_t>(position), static_cast<int32_t>(position), 0.0f};
  const double scale = static_cast<double>(source) / static_cast<double>(target);
  const float centre = static_cast<float>((static_cast<double>(position) + 0.5) * scale - 0.5);
  const int32_t first = static_cast<int32_t>(std::floor(centre));
  if (first < 0) return {0, 0, 0.0f};
  const int32_t last = static_cast<int32_t>(source - 1);
  if (first >= last) return {last, last, 0.0f};
  return {first, first + 1, centre - static_cast<float>(first)};
}

float mix(float first, float second, float weight) { return first * (1.0f - weight) + second * weight; }

// One axis of both resizes.
struct Axis {
  std::vector<Sample> padded;  // of each position of the kept part of the padded frame, in the logits
  std::vector<Sample> output;  // of each position of the output, in that kept part
  std::vector<int32_t> taps;   // (output, 4) positions in the logits
  std::vector<float> weights;  // (output, 4)

  Axis(int64_t logits, int64_t padded_size, int64_t frame, int64_t output_size) {
    for (int64_t index = 0; index < frame; ++index) padded.push_back(sample_at(index, logits, padded_size));
    for (int64_t index = 0; index < output_size; ++index) {
      const Sample outer = sample_at(index, frame, output_size);
      output.push_back(outer);
      const Sample inner[2] = {padded[outer.first], padded[outer.second]};
      for (int side = 0; side < 2; ++side) {
        const float share = side == 0 ? 1.0f - outer.weight : outer.weight;
        taps.push_back(inner[side].first);
        taps.push_back(inner[side].second);
        weights.push_back(share * (1.0f - inner[side].weight));
        weights.push_back(share * inner[side].weight);
      }
    }
  }
};

// Neighbouring rows of the output that are means of the same rows of the logits.
struct RowGroup {
  int32_t begin, end;   // rows of the output
  int32_t first, last;  // rows of the logits
};

std::vector<RowGroup> groups_of(const Axis& rows) {
  std::vector<RowGroup> groups;
  for (int32_t row = 0; row < static_cast<int32_t>(rows.output.size()); ++row) {
    const int32_t* taps = rows.taps.data() + 4 * row;
    const int32_t first = *std::min_element(taps, taps + 4), last = *std::max_element(taps, taps + 4);
    if (!groups.empty() && groups.back().first == first && groups.back().last == last) {
      groups.back().end = row + 1;
    } else {
      groups.push_back({row, row + 1, first, last});
    }
  }
  return groups;
}

// What all masks share.
struct Plan {
  const LogitsEncoding& args;
  Axis rows, columns;
  std::vector<RowGroup> groups;

  explicit Plan(const LogitsEncoding& encoding)
      : args(encoding),
        rows(encoding.height, encoding.padded_height, encoding.frame_height, encoding.output_height),
        columns(encoding.width, encoding.padded_width, encoding.frame_width, encoding.output_width),
        groups(groups_of(rows)) {}
};

// Writes the counts of a mask from its runs that are on, in order; runs that touch each other become one.
class OnRunEncoder {
 public:
  explicit OnRunEncoder(std::string& text) : text_(text), writer_(text) {}

  void add(int64_t begin, int64_t end) {
    if (begin == end_ && end_ > begin_) {
      end_ = end;
      return;
    }
    flush();
    begin_ = begin;
    end_ = end;
  }

  // Leaves the text empty where no pixel is on.
  void finish(int64_t num_pixels) {
    flush();
    if (written_ == 0) {
      text_.clear();
    } else if (written_ < num_pixels) {
      writer_.add(num_pixels - written_);
    }
  }

 private:
  void flush() {
    if (end_ == begin_) return;
    writer_.add(begin_ - written_);
    writer_.add(end_ - begin_);
    written_ = end_;
  }

  std::string& text_;
  RunWriter writer_;
  int64_t begin_ = 0, end_ = 0, written_ = 0;
};

class MaskEncoder {
 public:
  MaskEncoder(const Plan& plan, const float* logits)
      : plan_(plan), height_(plan.args.height), columns_(plan.args.height * plan.args.width), mixed_(height_) {
    const int64_t width = plan.args.width;
    extents_.assign(width, {static_cast<int32_t>(height_), -1});
    for (int64_t row = 0; row < height_; ++row) {
      for (int64_t column = 0; column < width; ++column) {
        const float value = logits[row * width + column];
        columns_[column * height_ + row] = value;
        tolerance_ = std::max(tolerance_, std::fabs(value));
        if (value > 0.0f) {
          extents_[column].first = std::min(extents_[column].first, static_cast<int32_t>(row));
          extents_[column].last = static_cast<int32_t>(row);
        }
      }
    }
    tolerance_ *= kRelativeError;
  }

  void encode(std::string& text) {
    const int64_t output_height = plan_.args.output_height, output_width = plan_.args.output_width;
    OnRunEncoder runs(text);
    for (int64_t column = 0; column < output_width; ++column) encode_column(column, column * output_height, runs);
    runs.finish(output_height * output_width);
  }

 private:
  struct Extent {
    int32_t first, last;  // rows with a positive logit
  };

  void encode_column(int64_t column, int64_t start, OnRunEncoder& runs) {
    const int32_t* taps = plan_.columns.taps.data() + 4 * column;
    Extent positive{static_cast<int32_t>(height_), -1};
    for (int tap = 0; tap < 4; ++tap) {
      positive.first = std::min(positive.first, extents_[taps[tap]].first);
      positive.last = std::max(positive.last, extents_[taps[tap]].last);
    }
    if (positive.last < 0) return;  // no mean of these is positive
    mix_columns(taps, plan_.columns.weights.data() + 4 * column);
    for (const RowGroup& group : plan_.groups) {
      if (group.last < positive.first) continue;
      if (group.first > positive.last) break;
      float least = mixed_[group.first], most = least;
      for (int32_t row = group.first + 1; row <= group.last; ++row) {
        least = std::min(least, mixed_[row]);
        most = std::max(most, mixed_[row]);
      }
      if (most < -tolerance_) continue;
      if (least > tolerance_) {
        runs.add(start + group.begin, start + group.end);
        continue;
      }
      for (int32_t row = group.begin; row < group.end; ++row) {
        if (is_on(row, column)) runs.add(start + row, start + row + 1);
      }
    }
  }

  void mix_columns(const int32_t* taps, const float* weights) {
    const float* const sources[4] = {columns_.data() + taps[0] * height_, columns_.data() + taps[1] * height_,
                                     columns_.data() + taps[2] * height_, columns_.data() + taps[3] * height_};
    for (int64_t row = 0; row < height_; ++row) {
      mixed_[row] = (sources[0][row] * weights[0] + sources[1][row] * weights[1]) +
                    (sources[2][row] * weights[2] + sources[3][row] * weights[3]);
    }
  }

  bool is_on(int64_t row, int64_t column) const {
    const int32_t* taps = plan_.rows.taps.data() + 4 * row;
    const float* weights = plan_.rows.weights.data() + 4 * row;
    const float mean = (mixed_[taps[0]] * weights[0] + mixed_[taps[1]] * weights[1]) +
                       (mixed_[taps[2]] * weights[2] + mixed_[taps[3]] * weights[3]);
    if (std::fabs(mean) > tolerance_) return mean > 0.0f;
    return step_by_step(plan_.rows.output[row], plan_.columns.output[column]) > 0.0f;
  }

  // As the two resizes, each first along the rows of a column and then across columns.
  float step_by_step(const Sample& row, const Sample& column) const {
    const float left = mix(padded_at(row.first, column.first), padded_at(row.second, column.first), row.weight);
    const float right = mix(padded_at(row.first, column.second), padded_at(row.second, column.second), row.weight);
    return mix(left, right, column.weight);
  }

  float padded_at(int32_t row_index, int32_t column_index) const {
    const Sample& row = plan_.rows.padded[row_index];
    const Sample& column = plan_.columns.padded[column_index];
    const float* const left = columns_.data() + column.first * height_;
    const float* const right = columns_.data() + column.second * height_;
    return mix(mix(left[row.first], left[row.second], row.weight), mix(right[row.first], right[row.second], row.weight),
               column.weight);
  }

  const Plan& plan_;
  const int64_t height_;
  std::vector<float> columns_;  // the logits, column by column
  std::vector<float> mixed_;    // of the column of the output that is being made, one for each row of the logits
  std::vector<Extent> extents_;
  float tolerance_ = 0.0f;
};

int32_t encode_logits(LogitsEncoding& args) {
  const Plan plan(args);
  std::vector<std::string> texts(args.num_masks);
  std::atomic<int64_t> next{0};
  std::atomic<bool> is_out_of_memory{false};
  const auto work = [&] {
    try {
      for (int64_t mask = next++; mask < args.num_masks; mask = next++) {
        MaskEncoder(plan, args.logits + mask * args.height * args.width).encode(texts[mask]);
      }
    } catch (const std::bad_alloc&) {
      is_out_of_memory = true;
    }
  };
  std::vector<std::thread> threads;
  for (int64_t index = 1; index < std::min(args.num_threads, args.num_masks); ++index) {
    try {
      threads.emplace_back(work);
    } catch (const std::system_error&) {  // no thread left in the system
      break;
    }
  }
  work();
  for (std::thread& thread : threads) thread.join();
  if (is_out_of_memory) return kRleOutOfMemory;
  args.num_bytes = args.num_masks;
  for (const std::string& text : texts) args.num_bytes += static_cast<int64_t>(text.size());
  if (args.num_bytes > args.capacity) return kRleSuccess;
  uint8_t* target = args.counts;
  for (const std::string& text : texts) {
    std::memcpy(target, text.data(), text.size());
    target += text.size();
    *target++ = kRleSeparator;
  }
  return kRleSuccess;
}

}  // namespace
}  // namespace vm2f

VM2F_EXPORT int32_t vm2f_rle_encode_logits(vm2f::LogitsEncoding* args) {
  try {
    return vm2f::encode_logits(*args);
  } catch (const std::bad_alloc&) {
    return vm2f::kRleOutOfMemory;
  }
}
