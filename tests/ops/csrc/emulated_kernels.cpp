// The CUDA kernels of deformable attention behind the library's C interface, run on the CPU.

#include <algorithm>
#include <cstdio>
#include <exception>
#include <vector>

#include "cuda_on_cpu.h"
#include "ms_deform_attn_cuda.cuh"

namespace {

using vm2f::Arguments;

// As __nv_bfloat16: made of a float, rounded to nearest, and read as one.
struct BFloat16 {
  uint16_t bits;
  BFloat16() = default;
  explicit BFloat16(float value) {
    uint32_t all;
    std::memcpy(&all, &value, sizeof(all));
    bits = static_cast<uint16_t>((all + 0x7fff + ((all >> 16) & 1)) >> 16);
  }
  explicit operator float() const {
    const uint32_t all = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &all, sizeof(value));
    return value;
  }
};

// Few blocks, so that each takes several turns, as where there are more rows than a grid has blocks.
vm2f::Launch plan(const Arguments& args, int pack) {
  vm2f::Launch launch = vm2f::plan_launch(args, pack);
  launch.grid.x = std::min(launch.grid.x, 3u);
  return launch;
}

template <typename T, int kPack>
void forward(const Arguments& args) {
  using Real = typename vm2f::Accumulator<T>::Type;
  const vm2f::Launch launch = plan(args, kPack);
  emulation::launch(launch.grid, launch.block, [&] {
    vm2f::forward_kernel<T, kPack>(static_cast<const T*>(args.value), static_cast<const Real*>(args.sampling_locations),
                                   static_cast<const Real*>(args.attention_weights), static_cast<T*>(args.output),
                                   launch.levels, launch.sizes);
  });
}

template <typename T, int kPack>
void backward(const Arguments& args) {
  using Real = typename vm2f::Accumulator<T>::Type;
  // The kernel adds to zeros in its own precision; the result is of value's type.
  std::vector<Real> grad_value(args.num_images * args.num_pixels * args.num_heads * args.num_channels);
  const vm2f::Launch launch = plan(args, kPack);
  emulation::launch(launch.grid, launch.block, [&] {
    vm2f::backward_kernel<T, kPack>(static_cast<const T*>(args.grad_output), static_cast<const T*>(args.value),
                                    static_cast<const Real*>(args.sampling_locations),
                                    static_cast<const Real*>(args.attention_weights), grad_value.data(),
                                    static_cast<Real*>(args.grad_locations), static_cast<Real*>(args.grad_weights),
                                    launch.levels, launch.sizes);
  });
  for (size_t i = 0; i < grad_value.size(); ++i) static_cast<T*>(args.grad_value)[i] = static_cast<T>(grad_value[i]);
}

template <typename T>
void run_all(const Arguments& args, bool is_forward) {
  constexpr int kPack = 16 / sizeof(T);
  if (args.num_channels % kPack == 0) {
    is_forward ? forward<T, kPack>(args) : backward<T, kPack>(args);
  } else {
    is_forward ? forward<T, 1>(args) : backward<T, 1>(args);
  }
}

int32_t run(const Arguments& args, bool is_forward) {
  try {
    switch (args.data_type) {
      case vm2f::kFloat32: run_all<float>(args, is_forward); break;
      case vm2f::kFloat64: run_all<double>(args, is_forward); break;
      default: run_all<BFloat16>(args, is_forward);
    }
  } catch (const std::exception& error) {
    std::fprintf(stderr, "emulated kernel: %s\n", error.what());
    return -100;
  }
  return vm2f::kSuccess;
}

}  // namespace

extern "C" int32_t vm2f_ms_deform_attn_forward_cpu(const Arguments* args) { return run(*args, true); }
extern "C" int32_t vm2f_ms_deform_attn_backward_cpu(const Arguments* args) { return run(*args, false); }
