// The CUDA kernels of deformable attention behind the library's C interface, run on the CPU.

#include <algorithm>
#include <cstdio>
#include <exception>

#include "cuda_on_cpu.h"
#include "ms_deform_attn_cuda.cuh"

namespace {

using vm2f::Arguments;

template <typename T, int kPack>
void forward(const Arguments& args) {
  const vm2f::Launch launch = vm2f::plan_launch(args, kPack);
  emulation::launch(launch.grid, launch.block, [&] {
    vm2f::forward_kernel<T, kPack>(static_cast<const T*>(args.value), static_cast<const T*>(args.sampling_locations),
                                   static_cast<const T*>(args.attention_weights), static_cast<T*>(args.output),
                                   launch.levels, launch.sizes);
  });
}

template <typename T, int kPack>
void backward(const Arguments& args) {
  const int64_t size = args.num_images * args.num_pixels * args.num_heads * args.num_channels;
  std::fill_n(static_cast<T*>(args.grad_value), size, T(0));
  const vm2f::Launch launch = vm2f::plan_launch(args, kPack);
  emulation::launch(launch.grid, launch.block, [&] {
    vm2f::backward_kernel<T, kPack>(static_cast<const T*>(args.grad_output), static_cast<const T*>(args.value),
                                    static_cast<const T*>(args.sampling_locations),
                                    static_cast<const T*>(args.attention_weights), static_cast<T*>(args.grad_value),
                                    static_cast<T*>(args.grad_locations), static_cast<T*>(args.grad_weights),
                                    launch.levels, launch.sizes);
  });
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
    if (args.data_type == vm2f::kFloat32) {
      run_all<float>(args, is_forward);
    } else {
      run_all<double>(args, is_forward);
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
