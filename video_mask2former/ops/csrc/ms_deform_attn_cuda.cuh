// CUDA kernels, free of torch.
//
// A group of lanes (1 to 32 of one warp, a power of two) works on one "row": one query of one image and one head.
// Each lane owns some packs of neighbouring channels, read 16 bytes at a time where sizes and addresses allow it, so
// that a corner's channels are one coalesced read. Rows are numbered as they lie in memory, (N, Lq, M); all offsets
// are 64-bit. Sums are float, or double for double values.

#pragma once

#include "ms_deform_attn.h"

namespace vm2f {

constexpr int kThreadsPerBlock = 256;
constexpr int64_t kMaxBlocks = 2147483647;  // more rows than that are taken in turns

// By value in the kernel's arguments: nothing to copy to the device, nothing to wait for.
struct Levels {
  int32_t height[kMaxCudaLevels];
  int32_t width[kMaxCudaLevels];
  int32_t start[kMaxCudaLevels];  // the first pixel of the level
};

struct Sizes {
  int64_t num_rows;    // N * Lq * M
  int64_t num_pixels;  // S
  int64_t num_queries;
  int64_t num_heads;
  int32_t num_channels;
  int32_t num_levels;
  int32_t num_points;
};

struct Launch {
  dim3 grid, block;
  Levels levels;
  Sizes sizes;
};

// For at least one row and at most kMaxCudaLevels levels; pack is the number of channels a lane reads at once.
inline Launch plan_launch(const Arguments& args, int pack) {
  Launch launch{};
  const int64_t packs = (args.num_channels + pack - 1) / pack;
  unsigned lanes = 1;
  while (lanes < 32 && lanes < packs) lanes *= 2;
  launch.block = dim3(lanes, kThreadsPerBlock / lanes);
  launch.sizes.num_rows = args.num_images * args.num_queries * args.num_heads;
  const int64_t blocks = (launch.sizes.num_rows + launch.block.y - 1) / launch.block.y;
  launch.grid = dim3(static_cast<unsigned>(blocks < kMaxBlocks ? blocks : kMaxBlocks));
  launch.sizes.num_pixels = args.num_pixels;
  launch.sizes.num_queries = args.num_queries;
  launch.sizes.num_heads = args.num_heads;
  launch.sizes.num_channels = static_cast<int32_t>(args.num_channels);
  launch.sizes.num_levels = static_cast<int32_t>(args.num_levels);
  launch.sizes.num_points = static_cast<int32_t>(args.num_points);
  int64_t start = 0;
  for (int64_t level = 0; level < args.num_levels; ++level) {
    const int64_t h = args.spatial_shapes[2 * level], w = args.spatial_shapes[2 * level + 1];
    launch.levels.height[level] = static_cast<int32_t>(h);
    launch.levels.width[level] = static_cast<int32_t>(w);
    launch.levels.start[level] = static_cast<int32_t>(start);
    start += h * w;
  }
  return launch;
}

template <typename T>
struct Accumulator {
  using Type = float;
};
template <>
struct Accumulator<double> {
  using Type = double;
};

template <typename T, int kSize>
struct alignas(sizeof(T) * kSize) Pack {
  T items[kSize];
};

// Where one row's channels lie in value, grad_value and output.
struct Row {
  __device__ __forceinline__ Row(const Sizes& sizes, int64_t row) {
    const int64_t query = row / sizes.num_heads;  // of all images together
    const int64_t head = row - query * sizes.num_heads;
    pixel_stride = sizes.num_heads * sizes.num_channels;
    first_pixel = query / sizes.num_queries * sizes.num_pixels * pixel_stride + head * sizes.num_channels;
    output = row * sizes.num_channels;
  }

  int64_t first_pixel, pixel_stride, output;
};

template <typename Real>
__device__ __forceinline__ void corner_weights(const BilinearPoint<Real>& point, Real (&weights)[4]) {
  const Real left = Real(1) - point.right, above = Real(1) - point.below;
  weights[0] = above * left;
  weights[1] = above * point.right;
  weights[2] = point.below * left;
  weights[3] = point.below * point.right;
}

// The corner's position among the image's pixels; corners in the order of their bits in Corner.
template <typename Real>
__device__ __forceinline__ int64_t corner_pixel(const BilinearPoint<Real>& point, int corner, int32_t start,
                                                int32_t width) {
  return start + static_cast<int64_t>(point.y + (corner >> 1)) * width + point.x + (corner & 1);
}

// blockDim = (lanes, rows per block).
template <typename T, int kPack>
__global__ void __launch_bounds__(kThreadsPerBlock)
    forward_kernel(const T* __restrict__ value, const typename Accumulator<T>::Type* __restrict__ locations,
                   const typename Accumulator<T>::Type* __restrict__ attention, T* __restrict__ output, Levels levels,
                   Sizes sizes) {
  using Real = typename Accumulator<T>::Type;
  const int64_t row_step = static_cast<int64_t>(gridDim.x) * blockDim.y;
  for (int64_t r = static_cast<int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; r < sizes.num_rows; r += row_step) {
    const Row row(sizes, r);
    for (int32_t c = threadIdx.x * kPack; c < sizes.num_channels; c += blockDim.x * kPack) {
      Real sum[kPack] = {};
      int64_t i = r * sizes.num_levels * sizes.num_points;
      for (int32_t level = 0; level < sizes.num_levels; ++level) {
        const int32_t w = levels.width[level], start = levels.start[level];
        const Real width = Real(w), height = Real(levels.height[level]);
        for (int32_t p = 0; p < sizes.num_points; ++p, ++i) {
          const BilinearPoint<Real> point = locate(locations[2 * i], locations[2 * i + 1], width, height);
          Real weights[4];
          corner_weights(point, weights);
#pragma unroll
          for (int corner = 0; corner < 4; ++corner) {
            if (!(point.corners >> corner & 1)) continue;
            const T* const pixel =
                value + row.first_pixel + c + corner_pixel(point, corner, start, w) * row.pixel_stride;
            const Pack<T, kPack> read = *reinterpret_cast<const Pack<T, kPack>*>(pixel);
            const Real weight = attention[i] * weights[corner];
#pragma unroll
            for (int k = 0; k < kPack; ++k) sum[k] += weight * static_cast<Real>(read.items[k]);
          }
        }
      }
      Pack<T, kPack> written;
#pragma unroll
      for (int k = 0; k < kPack; ++k) written.items[k] = static_cast<T>(sum[k]);
      *reinterpret_cast<Pack<T, kPack>*>(output + row.output + c) = written;
    }
  }
}

// Adds kPack neighbouring values; the widest atomics the device has.
template <int kPack, typename Real>
__device__ __forceinline__ void atomic_add_pack(Real* to, const Real (&values)[kPack]) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 900
  constexpr bool kHasVectorAtomics = sizeof(Real) == sizeof(float) && kPack % 4 == 0;
#else
  constexpr bool kHasVectorAtomics = false;
#endif
  if constexpr (kHasVectorAtomics) {
#pragma unroll
    for (int k = 0; k < kPack; k += 4) {
      atomicAdd(reinterpret_cast<float4*>(to + k), make_float4(values[k], values[k + 1], values[k + 2], values[k + 3]));
    }
  } else {
#pragma unroll
    for (int k = 0; k < kPack; ++k) atomicAdd(to + k, values[k]);
  }
}

// The sum over a row's lanes, in all of them. Every lane of the warp must call it.
template <typename Real>
__device__ __forceinline__ Real sum_over_lanes(Real x) {
  for (unsigned step = blockDim.x / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xffffffffu, x, step);
  return x;
}

// blockDim = (lanes, rows per block), whole warps. grad_value is zero at the start.
template <typename T, int kPack>
__global__ void __launch_bounds__(kThreadsPerBlock)
    backward_kernel(const T* __restrict__ grad_output, const T* __restrict__ value,
                    const typename Accumulator<T>::Type* __restrict__ locations,
                    const typename Accumulator<T>::Type* __restrict__ attention,
                    typename Accumulator<T>::Type* __restrict__ grad_value,
                    typename Accumulator<T>::Type* __restrict__ grad_locations,
                    typename Accumulator<T>::Type* __restrict__ grad_attention, Levels levels, Sizes sizes) {
  using Real = typename Accumulator<T>::Type;
  const int64_t row_step = static_cast<int64_t>(gridDim.x) * blockDim.y;
  // The bound is the same for the whole block, so that all lanes of a warp take part in the sums over lanes.
  for (int64_t base = static_cast<int64_t>(blockIdx.x) * blockDim.y; base < sizes.num_rows; base += row_step) {
    const int64_t r = base + threadIdx.y;
    const bool is_row = r < sizes.num_rows;
    const Row row(sizes, is_row ? r : 0);
    int64_t i = (is_row ? r : 0) * sizes.num_levels * sizes.num_points;
    for (int32_t level = 0; level < sizes.num_levels; ++level) {
      const int32_t w = levels.width[level], start = levels.start[level];
      const Real width = Real(w), height = Real(levels.height[level]);
      for (int32_t p = 0; p < sizes.num_points; ++p, ++i) {
        BilinearPoint<Real> point = locate(locations[2 * i], locations[2 * i + 1], width, height);
        if (!is_row) point.corners = 0;
        Real weights[4], dots[4] = {};  // of grad_output with the pixel at each corner
        corner_weights(point, weights);
        const Real a = attention[i];
        for (int32_t c = threadIdx.x * kPack; c < sizes.num_channels; c += blockDim.x * kPack) {
          const Pack<T, kPack> gradient = *reinterpret_cast<const Pack<T, kPack>*>(grad_output + row.output + c);
#pragma unroll
          for (int corner = 0; corner < 4; ++corner) {
            if (!(point.corners >> corner & 1)) continue;
            const int64_t offset = row.first_pixel + c + corner_pixel(point, corner, start, w) * row.pixel_stride;
            const Pack<T, kPack> read = *reinterpret_cast<const Pack<T, kPack>*>(value + offset);
            Real added[kPack];
#pragma unroll
            for (int k = 0; k < kPack; ++k) {
              const Real g = static_cast<Real>(gradient.items[k]);
              dots[corner] += g * static_cast<Real>(read.items[k]);
              added[k] = a * weights[corner] * g;
            }
            atomic_add_pack<kPack>(grad_value + offset, added);
          }
        }
        const Real left = Real(1) - point.right, above = Real(1) - point.below;
        const Real along_weight =
            weights[0] * dots[0] + weights[1] * dots[1] + weights[2] * dots[2] + weights[3] * dots[3];
        const Real along_x = above * (dots[1] - dots[0]) + point.below * (dots[3] - dots[2]);
        const Real along_y = left * (dots[2] - dots[0]) + point.right * (dots[3] - dots[1]);
        const Real grad_a = sum_over_lanes(along_weight);
        const Real grad_x = sum_over_lanes(along_x);
        const Real grad_y = sum_over_lanes(along_y);
        if (is_row && threadIdx.x == 0) {
          grad_attention[i] = grad_a;
          grad_locations[2 * i] = a * width * grad_x;
          grad_locations[2 * i + 1] = a * height * grad_y;
        }
      }
    }
  }
}

}  // namespace vm2f
