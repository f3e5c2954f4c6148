// CPU kernels, compiled once per instruction set (ms_deform_attn_cpu.cpp). Plain loops with constant bounds over
// channels and branch-free loops over points, which compilers turn into vector code.
//
// Everything is in an unnamed namespace and uses no standard templates: the linker merges equal inline functions of
// several objects into one, and must never pick one compiled for a newer processor than this one.

#pragma once

#include <cstdlib>
#include <cstring>

#include "ms_deform_attn.h"

// Tells the compiler that no iteration of the next loop writes what another one reads.
#if defined(__clang__)
#define VM2F_INDEPENDENT_ITERATIONS _Pragma("clang loop vectorize(assume_safety)")
#else
#define VM2F_INDEPENDENT_ITERATIONS _Pragma("GCC ivdep")
#endif

namespace vm2f {
namespace {

struct BFloat16 {
  uint16_t bits;
};

template <typename T>
struct Accumulator {
  using Type = float;
};
template <>
struct Accumulator<double> {
  using Type = double;
};

// One register's worth of accumulators. Compilers keep an array of these in registers, but not an array of scalars.
#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <typename Real>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(Real));
template <typename V, typename Real>
constexpr int kLanesOf = static_cast<int>(sizeof(V) / sizeof(Real));

template <typename Real>
struct VectorOf {
  typedef Real Type __attribute__((vector_size(kVectorBytes)));
};
template <typename Real>
using Vector = typename VectorOf<Real>::Type;

// Reads and writes a vector, or one scalar, at any address.
template <typename V, typename Real>
VM2F_INLINE V load(const Real* from) {
  V result;
  std::memcpy(&result, from, sizeof(V));
  return result;
}

template <typename V>
VM2F_INLINE V load(const BFloat16* from) {
  constexpr int kCount = kLanesOf<V, float>;
  uint16_t halves[kCount];
  uint32_t bits[kCount];
  std::memcpy(halves, from, sizeof(halves));
  for (int i = 0; i < kCount; ++i) bits[i] = static_cast<uint32_t>(halves[i]) << 16;
  V result;
  std::memcpy(&result, bits, sizeof(V));
  return result;
}

template <typename V, typename Real>
VM2F_INLINE void store(const V& value, Real* to) {
  std::memcpy(to, &value, sizeof(V));
}

template <typename V>
VM2F_INLINE void store(const V& value, BFloat16* to) {
  constexpr int kCount = kLanesOf<V, float>;
  uint32_t bits[kCount];
  std::memcpy(bits, &value, sizeof(V));
  for (int i = 0; i < kCount; ++i) {
    const uint32_t rounded = (bits[i] + 0x7fff + ((bits[i] >> 16) & 1)) >> 16;  // to nearest, ties to even
    const bool is_nan = (bits[i] & 0x7fffffff) > 0x7f800000;
    to[i].bits = static_cast<uint16_t>(is_nan ? 0x7fc0 : rounded);
  }
}

// Memory for the length of a scope; null if there is none left.
template <typename T>
class Buffer {
 public:
  explicit Buffer(int64_t size) : data_(static_cast<T*>(std::malloc((size > 0 ? size : 1) * sizeof(T)))) {}
  ~Buffer() { std::free(data_); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  T* get() const { return data_; }

 private:
  T* data_;
};

// Some rows of L * P points each, as arrays over all points: where the corners are and what they weigh.
template <typename Real>
class PointTable {
 public:
  PointTable(const Arguments& args, int64_t num_rows)
      : size(num_rows * args.num_levels * args.num_points), reals_(8 * size), integers_(4 * size) {
    if (!is_allocated()) return;
    Real* const reals = reals_.get();
    int32_t* const integers = integers_.get();
    width = reals, height = reals + size, right = reals + 2 * size, below = reals + 3 * size;
    for (int k = 0; k < 4; ++k) weight[k] = reals + (4 + k) * size;
    level_start = integers, row = integers + size, pixel = integers + 2 * size, corners = integers + 3 * size;
    int64_t i = 0;
    for (int64_t r = 0; r < num_rows; ++r) {
      int64_t start = 0;
      for (int64_t level = 0; level < args.num_levels; ++level) {
        const int64_t h = args.spatial_shapes[2 * level], w = args.spatial_shapes[2 * level + 1];
        for (int64_t point = 0; point < args.num_points; ++point, ++i) {
          height[i] = static_cast<Real>(h), width[i] = static_cast<Real>(w);
          row[i] = static_cast<int32_t>(w), level_start[i] = static_cast<int32_t>(start);
        }
        start += h * w;
      }
    }
  }

  bool is_allocated() const { return reals_.get() != nullptr && integers_.get() != nullptr; }

  // Fills in the first count points. The corners' weights do not include the attention weights.
  void locate_all(const Real* __restrict locations, int64_t count) {
    const Real* __restrict w = width, * __restrict h = height;
    const int32_t* __restrict starts = level_start, * __restrict rows = row;
    int32_t* __restrict pixels = pixel, * __restrict inside = corners;
    Real* __restrict rights = right, * __restrict belows = below;
    Real* __restrict w0 = weight[0], * __restrict w1 = weight[1], * __restrict w2 = weight[2], * __restrict w3 = weight[3];
    VM2F_INDEPENDENT_ITERATIONS
    for (int64_t i = 0; i < count; ++i) {
      const BilinearPoint<Real> at = locate(locations[2 * i], locations[2 * i + 1], w[i], h[i]);
      const Real left = Real(1) - at.right, above = Real(1) - at.below;
      pixels[i] = starts[i] + at.y * rows[i] + at.x;
      inside[i] = at.corners;
      rights[i] = at.right;
      belows[i] = at.below;
      w0[i] = above * left;
      w1[i] = above * at.right;
      w2[i] = at.below * left;
      w3[i] = at.below * at.right;
    }
  }

  const int64_t size;
  Real *width = nullptr, *height = nullptr, *right = nullptr, *below = nullptr, *weight[4] = {};
  int32_t *level_start = nullptr, *row = nullptr, *pixel = nullptr, *corners = nullptr;

 private:
  Buffer<Real> reals_;
  Buffer<int32_t> integers_;
};

// One query and head, some of its channels (kVectors vectors of type V): the sum over all points.
template <typename V, int kVectors, typename T, typename Real>
VM2F_INLINE void attend(const T* value, int64_t stride, const PointTable<Real>& table, int64_t first, int64_t count,
                        const Real* attention, T* output) {
  V sum[kVectors] = {};
  const auto add = [&sum](Real weight, const T* pixel) {
    for (int v = 0; v < kVectors; ++v) sum[v] += weight * load<V>(pixel + v * kLanesOf<V, Real>);
  };
  for (int64_t j = 0; j < count; ++j) {
    const int64_t i = first + j;
    const int32_t corners = table.corners[i];
    const int64_t top_left = table.pixel[i] * stride, bottom_left = top_left + table.row[i] * stride;
    const Real w0 = attention[j] * table.weight[0][i], w1 = attention[j] * table.weight[1][i];
    const Real w2 = attention[j] * table.weight[2][i], w3 = attention[j] * table.weight[3][i];
    if (corners == kAllCorners) {  // nearly always: one well predicted branch instead of four
      add(w0, value + top_left);
      add(w1, value + top_left + stride);
      add(w2, value + bottom_left);
      add(w3, value + bottom_left + stride);
      continue;
    }
    if (corners & kTopLeft) add(w0, value + top_left);
    if (corners & kTopRight) add(w1, value + top_left + stride);
    if (corners & kBottomLeft) add(w2, value + bottom_left);
    if (corners & kBottomRight) add(w3, value + bottom_left + stride);
  }
  for (int v = 0; v < kVectors; ++v) store(sum[v], output + v * kLanesOf<V, Real>);
}

// Queries [begin, end) of all images together. False if out of memory.
template <typename T>
bool forward_queries(const Arguments& args, int64_t begin, int64_t end) {
  using Real = typename Accumulator<T>::Type;
  const int64_t M = args.num_heads, D = args.num_channels, stride = M * D;
  const int64_t points = args.num_levels * args.num_points;
  PointTable<Real> table(args, M);
  if (!table.is_allocated()) return false;
  for (int64_t query = begin; query < end; ++query) {
    const T* const value = static_cast<const T*>(args.value) + query / args.num_queries * args.num_pixels * stride;
    const Real* const attention = static_cast<const Real*>(args.attention_weights) + query * table.size;
    T* const output = static_cast<T*>(args.output) + query * stride;
    table.locate_all(static_cast<const Real*>(args.sampling_locations) + 2 * query * table.size, table.size);
    for (int64_t head = 0; head < M; ++head) {
      const int64_t first = head * points;
      int64_t c = head * D;
      const int64_t stop = c + D;
      for (; c + 4 * kLanes<Real> <= stop; c += 4 * kLanes<Real>)
        attend<Vector<Real>, 4>(value + c, stride, table, first, points, attention + first, output + c);
      for (; c + 2 * kLanes<Real> <= stop; c += 2 * kLanes<Real>)
        attend<Vector<Real>, 2>(value + c, stride, table, first, points, attention + first, output + c);
      for (; c < stop; ++c) attend<Real, 1>(value + c, stride, table, first, points, attention + first, output + c);
    }
  }
  return true;
}

template <typename V, typename Real>
VM2F_INLINE Real sum_lanes(const V& vector) {
  Real lanes[kLanesOf<V, Real>], sum = 0;
  std::memcpy(lanes, &vector, sizeof(V));
  for (const Real lane : lanes) sum += lane;
  return sum;
}

// One query and head, some of its channels: adds to the gradient of the pixels, and to dots the inner product of
// grad_output with the pixel at each corner, which is all that the other gradients need.
template <typename V, int kVectors, typename T, typename Real>
VM2F_INLINE void attend_backward(const T* grad_output, const Real* pixels, Real* grad_pixels, int64_t stride,
                                 const PointTable<Real>& table, int64_t first, int64_t count, const Real* attention,
                                 Real* const* dots) {
  constexpr int kStep = kLanesOf<V, Real>;
  V gradient[kVectors];
  for (int v = 0; v < kVectors; ++v) gradient[v] = load<V>(grad_output + v * kStep);
  for (int64_t i = first; i < first + count; ++i) {
    for (int corner = 0; corner < 4; ++corner) {
      if (!(table.corners[i] >> corner & 1)) continue;
      const int64_t pixel = table.pixel[i] + (corner & 1) + (corner >> 1) * table.row[i];
      const Real* const from = pixels + pixel * stride;
      Real* const to = grad_pixels + pixel * stride;
      const Real weight = attention[i - first] * table.weight[corner][i];
      V dot = {};
      for (int v = 0; v < kVectors; ++v) {
        dot += gradient[v] * load<V>(from + v * kStep);
        store(load<V>(to + v * kStep) + weight * gradient[v], to + v * kStep);
      }
      dots[corner][i] += sum_lanes<V, Real>(dot);
    }
  }
}

// The gradients of count locations and attention weights from the dots of their corners.
template <typename Real>
void finish_points(const PointTable<Real>& table, int64_t first, int64_t count, const Real* attention,
                   Real* const* dots, Real* grad_locations, Real* grad_weights) {
  const Real *const d0 = dots[0] + first, *const d1 = dots[1] + first;
  const Real *const d2 = dots[2] + first, *const d3 = dots[3] + first;
  const Real *const right = table.right + first, *const below = table.below + first;
  VM2F_INDEPENDENT_ITERATIONS
  for (int64_t j = 0; j < count; ++j) {
    const Real left = Real(1) - right[j], above = Real(1) - below[j];
    grad_weights[j] = above * (left * d0[j] + right[j] * d1[j]) + below[j] * (left * d2[j] + right[j] * d3[j]);
    const Real along_x = above * (d1[j] - d0[j]) + below[j] * (d3[j] - d2[j]);
    const Real along_y = left * (d2[j] - d0[j]) + right[j] * (d3[j] - d1[j]);
    grad_locations[2 * j] = attention[j] * table.width[first + j] * along_x;
    grad_locations[2 * j + 1] = attention[j] * table.height[first + j] * along_y;
  }
}

// What one thread needs to go backward through one head after the other. A head's pixels and their gradients are
// kept side by side, without the other heads in between: neighbours then share cache lines and sets (a quarter faster).
template <typename Real>
struct BackwardScratch {
  static constexpr int64_t kQueries = 32;  // looked at together: their points fill whole vectors

  explicit BackwardScratch(const Arguments& args)
      : table(args, kQueries),
        locations(2 * table.size),
        dots(4 * table.size),
        pixels(args.num_pixels * args.num_channels),
        grad_pixels(args.num_pixels * args.num_channels) {}

  bool is_allocated() const {
    return table.is_allocated() && locations.get() && dots.get() && pixels.get() && grad_pixels.get();
  }

  PointTable<Real> table;
  Buffer<Real> locations, dots, pixels, grad_pixels;
};

// Queries [begin, end) of one image and head.
template <typename T, typename Real>
void backward_queries(const Arguments& args, int64_t image, int64_t head, int64_t begin, int64_t end,
                      BackwardScratch<Real>& scratch) {
  const int64_t D = args.num_channels;
  const int64_t points = args.num_levels * args.num_points, count = (end - begin) * points;
  const int64_t first_row = (image * args.num_queries + begin) * args.num_heads + head;  // of (N, Lq, M) rows
  const Real* const all_locations = static_cast<const Real*>(args.sampling_locations);
  for (int64_t q = 0; q < end - begin; ++q) {
    const Real* const from = all_locations + 2 * (first_row + q * args.num_heads) * points;
    Real* const to = scratch.locations.get() + 2 * q * points;
    for (int64_t j = 0; j < 2 * points; ++j) to[j] = from[j];
  }
  scratch.table.locate_all(scratch.locations.get(), count);
  Real* dots[4];
  for (int corner = 0; corner < 4; ++corner) dots[corner] = scratch.dots.get() + corner * scratch.table.size;
  for (int corner = 0; corner < 4; ++corner) std::memset(dots[corner], 0, count * sizeof(Real));
  for (int64_t q = 0; q < end - begin; ++q) {
    const int64_t row = first_row + q * args.num_heads, first = q * points;
    const T* const grad_output = static_cast<const T*>(args.grad_output) + row * D;
    const Real* const attention = static_cast<const Real*>(args.attention_weights) + row * points;
    const Real* const pixels = scratch.pixels.get();
    Real* const grad_pixels = scratch.grad_pixels.get();
    int64_t c = 0;
    for (; c + 4 * kLanes<Real> <= D; c += 4 * kLanes<Real>)
      attend_backward<Vector<Real>, 4>(grad_output + c, pixels + c, grad_pixels + c, D, scratch.table, first, points,
                                       attention, dots);
    for (; c + 2 * kLanes<Real> <= D; c += 2 * kLanes<Real>)
      attend_backward<Vector<Real>, 2>(grad_output + c, pixels + c, grad_pixels + c, D, scratch.table, first, points,
                                       attention, dots);
    for (; c < D; ++c)
      attend_backward<Real, 1>(grad_output + c, pixels + c, grad_pixels + c, D, scratch.table, first, points, attention,
                               dots);
    finish_points(scratch.table, first, points, attention, dots,
                  static_cast<Real*>(args.grad_locations) + 2 * row * points,
                  static_cast<Real*>(args.grad_weights) + row * points);
  }
}

// Heads [begin, end) of all images together. No two heads share a pixel's gradient, so threads never meet, and the
// sums are taken in the same order whatever the number of threads. False if out of memory.
template <typename T>
bool backward_heads(const Arguments& args, int64_t begin, int64_t end) {
  using Real = typename Accumulator<T>::Type;
  const int64_t M = args.num_heads, D = args.num_channels, S = args.num_pixels;
  BackwardScratch<Real> scratch(args);
  if (!scratch.is_allocated()) return false;
  for (int64_t i = begin; i < end; ++i) {
    const int64_t image = i / M, head = i % M;
    Real* const grad_pixels = scratch.grad_pixels.get();
    const T* const value = static_cast<const T*>(args.value) + image * S * M * D + head * D;
    Real* const pixels = scratch.pixels.get();
    for (int64_t s = 0; s < S; ++s)
      for (int64_t c = 0; c < D; ++c) pixels[s * D + c] = load<Real>(value + s * M * D + c);
    std::memset(grad_pixels, 0, S * D * sizeof(Real));
    constexpr int64_t kBlock = BackwardScratch<Real>::kQueries;
    for (int64_t query = 0; query < args.num_queries; query += kBlock) {
      const int64_t stop = query + kBlock < args.num_queries ? query + kBlock : args.num_queries;
      backward_queries<T>(args, image, head, query, stop, scratch);
    }
    T* const grad_value = static_cast<T*>(args.grad_value) + image * S * M * D + head * D;
    for (int64_t s = 0; s < S; ++s)
      for (int64_t c = 0; c < D; ++c) store(grad_pixels[s * D + c], grad_value + s * M * D + c);
  }
  return true;
}

}  // namespace
}  // namespace vm2f
