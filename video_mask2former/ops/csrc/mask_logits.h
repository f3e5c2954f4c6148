// Masks straight from their small logits: upsampled, cropped, resized, thresholded and run-length encoded in one go.

#pragma once

#include <cstdint>

namespace vm2f {

// The published order of operations: bilinear to the padded frame, crop, bilinear to the original frame, above zero.
struct LogitsEncoding {
  const float* logits;  // (N, height, width), finite
  int64_t num_masks;    // N
  int64_t height;
  int64_t width;
  int64_t padded_height;  // what the logits cover
  int64_t padded_width;
  int64_t frame_height;  // the top left of it that is kept
  int64_t frame_width;
  int64_t output_height;
  int64_t output_width;
  int64_t num_threads;
  uint8_t* counts;  // of all masks, a separator after each (rle.h), nothing but it for an empty mask
  int64_t capacity;
  int64_t num_bytes;  // set to their length; where it is more than capacity, nothing is written
};

}  // namespace vm2f
