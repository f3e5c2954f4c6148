// Run-length encoded masks in the compressed form of COCO: checked, measured, decoded and encoded.
//
// A mask of height x width pixels is a sequence of runs off, on, off, ... in column order. A run is stored as base-32
// digits in the low bits of characters from '0' on, least significant first; bit 5 says that another digit follows, bit
// 4 of the last digit is the sign. From the fourth run on, the difference to the run two before is stored.
//
// Nothing here trusts what it reads: counts that do not cover a frame exactly are refused before anything is written.

#pragma once

#include <cstdint>

namespace vm2f {

enum RleStatus : int32_t { kRleSuccess = 0, kRleOutOfMemory = -1, kRleMalformed = -5 };

// Pixels of a frame; the caller refuses larger ones, so that positions fit 32 bits.
constexpr int64_t kMaxRlePixels = int64_t(1) << 27;

// Stands after the counts of each mask; no digit of a run is encoded by it.
constexpr uint8_t kRleSeparator = '\n';

// Masks of one frame size, and what is asked about them. Outputs that are null are not wanted.
struct RleMeasurement {
  const uint8_t* counts;  // of all masks, a separator after each
  int64_t num_bytes;
  int64_t num_masks;  // N
  int64_t height;
  int64_t width;
  int64_t* areas;        // (N) pixels
  int32_t* boxes_xywh;   // (N, 4) tight boxes, zeros for an empty mask
  const int64_t* pairs;  // (P, 2) indices of masks
  int64_t num_pairs;     // P
  int64_t* shared;       // (P) pixels that the two masks of each pair share
};

// A box of one mask, decoded.
struct RleDecoding {
  const uint8_t* counts;  // without a separator
  int64_t num_bytes;
  int64_t height;
  int64_t width;
  int64_t box_x;  // lies inside the frame, like the other three
  int64_t box_y;
  int64_t box_width;
  int64_t box_height;
  uint8_t* mask;  // (box_height, box_width) row by row, zeroed by the caller
};

// One mask, encoded.
struct RleEncoding {
  const uint8_t* mask;  // (height, width) row by row, not zero is on
  int64_t height;
  int64_t width;
  uint8_t* counts;  // written up to capacity
  int64_t capacity;
  int64_t num_bytes;  // set to the length of the counts, which is more than capacity where they do not fit
};

}  // namespace vm2f
