// Reading and writing the runs of compressed masks.

#pragma once

#include <cstdint>
#include <string>

#include "rle.h"

namespace vm2f {

constexpr uint8_t kFirstDigit = 48;
constexpr int kBitsOfDigit = 5;
constexpr int kMaxDigits = 7;  // 35 bits, more than any run has

// Pixels begin to end, in column order, that are on.
struct OnRun {
  uint32_t begin;
  uint32_t end;
};

// Reads the runs of one mask and hands each that is on and not empty to take(OnRun), runs that touch each other one by
// one. Returns whether the runs cover num_pixels exactly; what take got before is void if they do not.
template <typename Take>
bool read_runs(const uint8_t* text, const uint8_t* end, int64_t num_pixels, Take take) {
  if (text == end) return false;
  int64_t before[2] = {0, 0};  // the last run that was off, and the last that was on
  int64_t covered = 0;
  for (int64_t index = 0; text != end; ++index) {
    int64_t run = 0;
    int shift = 0;
    for (bool has_more = true; has_more;) {
      if (text == end || shift == kBitsOfDigit * kMaxDigits) return false;
      const uint8_t digit = static_cast<uint8_t>(*text++ - kFirstDigit);
      if (digit > 63) return false;
      run |= static_cast<int64_t>(digit & 31) << shift;
      shift += kBitsOfDigit;
      has_more = (digit & 32) != 0;
      if (!has_more && (digit & 16) != 0) run -= int64_t(1) << shift;
    }
    if (index > 2) run += before[index & 1];
    if (run < 0 || run > num_pixels - covered) return false;
    before[index & 1] = run;
    if ((index & 1) != 0 && run > 0) {
      take(OnRun{static_cast<uint32_t>(covered), static_cast<uint32_t>(covered + run)});
    }
    covered += run;
  }
  return covered == num_pixels;
}

// Collects runs off, on, off, ... and writes their text.
class RunWriter {
 public:
  explicit RunWriter(std::string& text) : text_(text) {}

  void add(int64_t run) {
    int64_t rest = index_ > 2 ? run - before_[index_ & 1] : run;
    before_[index_ & 1] = run;
    ++index_;
    for (bool has_more = true; has_more;) {
      const int64_t digit = rest & 31;
      rest = (rest - digit) / 32;  // rounds down
      has_more = (digit & 16) != 0 ? rest != -1 : rest != 0;
      text_.push_back(static_cast<char>(kFirstDigit + digit + (has_more ? 32 : 0)));
    }
  }

 private:
  std::string& text_;
  int64_t before_[2] = {0, 0};
  int64_t index_ = 0;
};

// The tight box of a mask that is fed run by run, and its area.
class MaskExtent {
 public:
  explicit MaskExtent(uint32_t height) : height_(height), top_(height) {}

  void add(OnRun run) {
    seek(run.begin);
    const uint32_t first_column = column_, first_row = run.begin - column_begin_;
    seek(run.end - 1);
    const uint32_t last_row = run.end - 1 - column_begin_;
    if (area_ == 0) left_ = first_column;
    right_ = column_;
    const bool is_in_one_column = first_column == column_;
    const uint32_t top = is_in_one_column ? first_row : 0;
    const uint32_t bottom = is_in_one_column ? last_row : height_ - 1;
    if (top < top_) top_ = top;
    if (bottom > bottom_) bottom_ = bottom;
    area_ += run.end - run.begin;
  }

  int64_t area() const { return area_; }

  void write_box_xywh(int32_t* box) const {
    const bool is_empty = area_ == 0;
    box[0] = is_empty ? 0 : static_cast<int32_t>(left_);
    box[1] = is_empty ? 0 : static_cast<int32_t>(top_);
    box[2] = is_empty ? 0 : static_cast<int32_t>(right_ - left_ + 1);
    box[3] = is_empty ? 0 : static_cast<int32_t>(bottom_ - top_ + 1);
  }

 private:
  // Makes column_ that of a pixel not before it: mostly this one or the next, so that nothing is divided.
  void seek(uint32_t pixel) {
    if (pixel - column_begin_ < height_) return;
    const uint32_t steps = pixel - column_begin_ < 2 * height_ ? 1 : (pixel - column_begin_) / height_;
    column_ += steps;
    column_begin_ += steps * height_;
  }

  uint32_t height_;
  uint32_t column_ = 0, column_begin_ = 0;
  uint32_t left_ = 0, right_ = 0, top_, bottom_ = 0;
  int64_t area_ = 0;
};

}  // namespace vm2f
