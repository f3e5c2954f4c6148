// Multi-scale deformable attention: what the CPU and the CUDA kernels share, and the C interface of the library.
//
// Shapes, as in ms_deform_attn.py:
//   value (N, S, M, D)   sampling_locations (N, Lq, M, L, P, 2)   attention_weights (N, Lq, M, L, P)
//   output, grad_output (N, Lq, M * D)   S = sum of h * w over the L levels
// All tensors are contiguous. Locations and weights are float, or double where value is.

#pragma once

#include <cstdint>

#ifdef __CUDACC__
#define VM2F_INLINE __host__ __device__ __forceinline__
#else
#define VM2F_INLINE inline __attribute__((always_inline))
#endif

// Raised whenever Arguments or an exported function changes; ms_deform_attn_kernels.py holds the same number.
#define VM2F_INTERFACE_VERSION 1

namespace vm2f {

enum DataType : int32_t { kFloat32 = 0, kFloat64 = 1, kBFloat16 = 2, kFloat16 = 3 };

enum Status : int32_t { kSuccess = 0, kOutOfMemory = -1, kUnsupportedType = -2, kTooManyLevels = -3 };

constexpr int kMaxCudaLevels = 16;

// Runs body(begin, end, context) over pieces of [begin, end), each of grain_size or more; as torch_parallel_for.
using ParallelBody = void (*)(int64_t begin, int64_t end, void* context);
using ParallelFor = int32_t (*)(int64_t begin, int64_t end, int64_t grain_size, ParallelBody body, void* context);

struct Arguments {
  const void* value;
  const void* sampling_locations;
  const void* attention_weights;
  const void* grad_output;  // backward only, like the three gradients
  void* output;             // forward only
  void* grad_value;         // of value's type; CUDA: zeroed by the caller, and float for half types
  void* grad_locations;
  void* grad_weights;
  const int64_t* spatial_shapes;  // h0, w0, h1, w1, ... in host memory
  int64_t num_images;             // N
  int64_t num_pixels;             // S, below 2^30
  int64_t num_heads;              // M
  int64_t num_channels;           // D
  int64_t num_queries;            // Lq
  int64_t num_levels;             // L
  int64_t num_points;             // P
  int32_t data_type;              // DataType of value, output and grad_output
  int32_t device;                 // CUDA only, like stream
  void* stream;
  ParallelFor parallel_for;  // CPU only; null: threads of our own, num_threads of them
  int32_t num_threads;
};

// Which of a point's four corners lie inside of the level.
enum Corner : int32_t { kTopLeft = 1, kTopRight = 2, kBottomLeft = 4, kBottomRight = 8, kAllCorners = 15 };

template <typename Real>
struct BilinearPoint {
  int32_t x, y;       // the top left corner, from -1 to width or height
  Real right, below;  // fractions towards the right and the lower corners
  int32_t corners;    // bits of Corner
};

// Places a location in [0, 1] on a level. Branch-free, so that the CPU kernel's loop over points vectorises.
// Points a pixel or more away from all pixel centres, infinite and NaN ones have no corner inside.
template <typename Real>
VM2F_INLINE BilinearPoint<Real> locate(Real location_x, Real location_y, Real width, Real height) {
  Real x = location_x * width - Real(0.5);
  Real y = location_y * height - Real(0.5);
  x = x > Real(-1) ? x : Real(-1);  // NaN becomes -1
  y = y > Real(-1) ? y : Real(-1);
  x = x < width ? x : width;
  y = y < height ? y : height;
  BilinearPoint<Real> point;
  point.x = static_cast<int32_t>(x);
  point.y = static_cast<int32_t>(y);
  point.x -= x < Real(point.x) ? 1 : 0;  // the conversion rounds towards zero, we want down
  point.y -= y < Real(point.y) ? 1 : 0;
  const Real left = Real(point.x), top = Real(point.y);
  point.right = x - left;
  point.below = y - top;
  const int32_t inside_left = (left >= Real(0)) & (left < width) ? kTopLeft | kBottomLeft : 0;
  const int32_t inside_right = (x > Real(-1)) & (left < width - Real(1)) ? kTopRight | kBottomRight : 0;
  const int32_t inside_top = (top >= Real(0)) & (top < height) ? kTopLeft | kTopRight : 0;
  const int32_t inside_bottom = (y > Real(-1)) & (top < height - Real(1)) ? kBottomLeft | kBottomRight : 0;
  point.corners = (inside_left | inside_right) & (inside_top | inside_bottom);
  return point;
}

}  // namespace vm2f
