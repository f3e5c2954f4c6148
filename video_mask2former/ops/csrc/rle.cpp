// What is asked about run-length encoded masks; called from rle/kernels.py.

#include "rle.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "library.h"
#include "rle_runs.h"

namespace vm2f {
namespace {

// The runs of several masks that are on, one mask after the other.
struct OnRuns {
  std::vector<OnRun> runs;
  std::vector<size_t> starts;  // (N + 1)
  std::vector<int32_t> boxes;  // (N, 4) xywh
};

bool are_apart(const int32_t* first, const int32_t* second) {
  return first[0] + first[2] <= second[0] || second[0] + second[2] <= first[0] || first[1] + first[3] <= second[1] ||
         second[1] + second[3] <= first[1];
}

int64_t shared_pixels(const OnRun* first, const OnRun* first_end, const OnRun* second, const OnRun* second_end) {
  int64_t shared = 0;
  while (first != first_end && second != second_end) {
    const uint32_t begin = std::max(first->begin, second->begin), end = std::min(first->end, second->end);
    if (begin < end) shared += end - begin;
    if (first->end < second->end) {
      ++first;
    } else {
      ++second;
    }
  }
  return shared;
}

int64_t shared_pixels(const OnRuns& masks, int64_t first, int64_t second) {
  const int32_t* boxes = masks.boxes.data();
  if (are_apart(boxes + 4 * first, boxes + 4 * second)) return 0;
  const OnRun* runs = masks.runs.data();
  return shared_pixels(runs + masks.starts[first], runs + masks.starts[first + 1], runs + masks.starts[second],
                       runs + masks.starts[second + 1]);
}

int32_t measure(const RleMeasurement& args) {
  const int64_t num_pixels = args.height * args.width;
  const bool has_pairs = args.num_pairs > 0;
  OnRuns masks;
  if (has_pairs) {
    masks.runs.reserve(args.num_bytes / 4);
    masks.starts.reserve(args.num_masks + 1);
    masks.starts.push_back(0);
    masks.boxes.resize(4 * args.num_masks);
  }
  const uint8_t* text = args.counts;
  const uint8_t* const text_end = args.counts + args.num_bytes;
  for (int64_t index = 0; index < args.num_masks; ++index) {
    const void* separator = std::memchr(text, kRleSeparator, text_end - text);
    if (separator == nullptr) return kRleMalformed;
    const uint8_t* const end = static_cast<const uint8_t*>(separator);
    MaskExtent extent(static_cast<uint32_t>(args.height));
    const bool is_valid = has_pairs ? read_runs(text, end, num_pixels,
                                                [&](OnRun run) {
                                                  extent.add(run);
                                                  masks.runs.push_back(run);
                                                })
                                    : read_runs(text, end, num_pixels, [&](OnRun run) { extent.add(run); });
    if (!is_valid) return kRleMalformed;
    if (args.areas != nullptr) args.areas[index] = extent.area();
    if (args.boxes_xywh != nullptr) extent.write_box_xywh(args.boxes_xywh + 4 * index);
    if (has_pairs) {
      masks.starts.push_back(masks.runs.size());
      extent.write_box_xywh(masks.boxes.data() + 4 * index);
    }
    text = end + 1;
  }
  if (text != text_end) return kRleMalformed;
  for (int64_t pair = 0; pair < args.num_pairs; ++pair) {
    args.shared[pair] = shared_pixels(masks, args.pairs[2 * pair], args.pairs[2 * pair + 1]);
  }
  return kRleSuccess;
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the first of eight bytes is the lowest of a word");

// Turns a block of eight columns of eight pixels, a byte each, into eight rows.
void transpose_8x8(uint64_t (&block)[8]) {
  for (int step = 4; step > 0; step /= 2) {
    const uint64_t low = step == 4 ? 0x00000000FFFFFFFFull : step == 2 ? 0x0000FFFF0000FFFFull : 0x00FF00FF00FF00FFull;
    for (int first = 0; first < 8; ++first) {
      if ((first & step) != 0) continue;
      const uint64_t a = block[first], b = block[first + step];
      block[first] = (a & low) | ((b & low) << (8 * step));
      block[first + step] = ((a >> (8 * step)) & low) | (b & ~low);
    }
  }
}

// Columns that are turned into rows, or rows into columns, at once: a line of the cache is touched once.
constexpr int64_t kStripWidth = 64;

int64_t round_up_to_8(int64_t value) { return (value + 7) / 8 * 8; }

// Up to eight bytes; a call of memcpy with a length that is not known costs more than all else.
void copy_row(uint8_t* target, const uint8_t* source, int64_t num_columns) {
  if (num_columns >= 8) {
    std::memcpy(target, source, 8);
  } else {
    for (int64_t column = 0; column < num_columns; ++column) target[column] = source[column];
  }
}

// Some columns of a box, column by column, as they are written before they become rows.
class Strip {
 public:
  explicit Strip(const RleDecoding& args)
      : args_(args),
        column_stride_(round_up_to_8(args.box_height)),
        pixels_(kStripWidth * column_stride_, 0),
        top_(column_stride_) {}

  // Turns on rows top to bottom of a column; both count inside the box, and columns come in ascending order.
  void fill(int64_t column, int64_t top, int64_t bottom) {
    if (column >= first_column_ + kStripWidth) {
      flush();
      first_column_ = column / kStripWidth * kStripWidth;
    }
    last_ = column - first_column_;
    std::memset(pixels_.data() + last_ * column_stride_ + top, 1, bottom - top);
    top_ = std::min(top_, top);
    bottom_ = std::max(bottom_, bottom);
  }

  // Writes the rows that something was turned on in, and forgets them.
  void flush() {
    const int64_t first_row = top_ / 8 * 8;
    const int64_t num_columns = std::min(last_ + 1, args_.box_width - first_column_);
    for (int64_t row = first_row; row < bottom_; row += 8) {
      for (int64_t column = 0; column < num_columns; column += 8) write_block(column, row);
    }
    if (first_row < bottom_) {
      for (int64_t column = 0; column < num_columns; ++column) {
        std::memset(pixels_.data() + column * column_stride_ + first_row, 0, bottom_ - first_row);
      }
    }
    top_ = column_stride_;
    bottom_ = 0;
  }

 private:
  void write_block(int64_t first, int64_t row) {
    uint64_t block[8];
    for (int64_t column = 0; column < 8; ++column) {
      std::memcpy(block + column, pixels_.data() + (first + column) * column_stride_ + row, 8);
    }
    transpose_8x8(block);
    uint8_t* const target = args_.mask + row * args_.box_width + first_column_ + first;
    const int64_t num_rows = std::min<int64_t>(8, args_.box_height - row);
    const int64_t num_columns = args_.box_width - first_column_ - first;
    for (int64_t inner = 0; inner < num_rows; ++inner) {
      copy_row(target + inner * args_.box_width, reinterpret_cast<const uint8_t*>(block + inner), num_columns);
    }
  }

  const RleDecoding& args_;
  int64_t column_stride_;
  std::vector<uint8_t> pixels_;
  int64_t first_column_ = 0, last_ = 0;  // in the box, and in the strip
  int64_t top_, bottom_ = 0;
};

int32_t decode(const RleDecoding& args) {
  const int64_t num_pixels = args.height * args.width;
  if (!read_runs(args.counts, args.counts + args.num_bytes, num_pixels, [](OnRun) {})) return kRleMalformed;
  if (args.box_width == 0 || args.box_height == 0) return kRleSuccess;
  const int64_t first = args.box_x * args.height, last = (args.box_x + args.box_width) * args.height;
  const int64_t box_bottom = args.box_y + args.box_height;
  Strip strip(args);
  read_runs(args.counts, args.counts + args.num_bytes, num_pixels, [&](OnRun run) {
    int64_t begin = std::max<int64_t>(run.begin, first);
    const int64_t end = std::min<int64_t>(run.end, last);
    while (begin < end) {
      const int64_t column = begin / args.height, column_begin = column * args.height;
      const int64_t stop = std::min(end, column_begin + args.height);
      const int64_t top = std::max(begin - column_begin, args.box_y);
      const int64_t bottom = std::min(stop - column_begin, box_bottom);
      if (top < bottom) strip.fill(column - args.box_x, top - args.box_y, bottom - args.box_y);
      begin = stop;
    }
  });
  strip.flush();
  return kRleSuccess;
}

// Some columns of a row-by-row mask, column by column, (kStripWidth, column_stride).
void read_strip(const RleEncoding& args, int64_t first_column, int64_t column_stride, uint8_t* strip) {
  const int64_t num_columns = std::min(kStripWidth, args.width - first_column);
  for (int64_t row = 0; row < args.height; row += 8) {
    const int64_t num_rows = std::min<int64_t>(8, args.height - row);
    for (int64_t first = 0; first < num_columns; first += 8) {
      uint64_t block[8] = {0, 0, 0, 0, 0, 0, 0, 0};
      const uint8_t* const source = args.mask + row * args.width + first_column + first;
      for (int64_t inner = 0; inner < num_rows; ++inner) {
        copy_row(reinterpret_cast<uint8_t*>(block + inner), source + inner * args.width, num_columns - first);
      }
      transpose_8x8(block);
      for (int64_t column = 0; column < 8; ++column) {
        std::memcpy(strip + (first + column) * column_stride + row, block + column, 8);
      }
    }
  }
}

int32_t encode(RleEncoding& args) {
  std::string text;
  RunWriter writer(text);
  const int64_t column_stride = round_up_to_8(args.height);
  std::vector<uint8_t> strip(kStripWidth * column_stride);
  int64_t run = 0;
  bool is_on = false;
  for (int64_t first_column = 0; first_column < args.width; first_column += kStripWidth) {
    read_strip(args, first_column, column_stride, strip.data());
    const int64_t num_columns = std::min(kStripWidth, args.width - first_column);
    for (int64_t column = 0; column < num_columns; ++column) {
      const uint8_t* const pixels = strip.data() + column * column_stride;
      int64_t row = 0;
      while (row < args.height) {
        const uint64_t uniform = is_on ? 0x0101010101010101ull : 0;
        const int64_t start = row;
        for (uint64_t eight = uniform; row + 8 <= args.height; row += 8) {
          std::memcpy(&eight, pixels + row, 8);
          if (eight != uniform) break;
        }
        while (row < args.height && (pixels[row] != 0) == is_on) ++row;
        run += row - start;
        if (row == args.height) break;
        writer.add(run);
        run = 0;
        is_on = !is_on;
      }
    }
  }
  writer.add(run);
  args.num_bytes = static_cast<int64_t>(text.size());
  std::memcpy(args.counts, text.data(), std::min(args.num_bytes, args.capacity));
  return kRleSuccess;
}

// No exception may leave the library: Python, and not C++, called it.
template <typename Arguments>
int32_t guarded(int32_t (*function)(Arguments&), Arguments& args) {
  try {
    return function(args);
  } catch (const std::bad_alloc&) {
    return kRleOutOfMemory;
  }
}

}  // namespace
}  // namespace vm2f

VM2F_EXPORT int32_t vm2f_rle_measure(const vm2f::RleMeasurement* args) { return vm2f::guarded(vm2f::measure, *args); }

VM2F_EXPORT int32_t vm2f_rle_decode(const vm2f::RleDecoding* args) { return vm2f::guarded(vm2f::decode, *args); }

VM2F_EXPORT int32_t vm2f_rle_encode(vm2f::RleEncoding* args) { return vm2f::guarded(vm2f::encode, *args); }
