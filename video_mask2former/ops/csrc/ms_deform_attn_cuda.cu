// Launches the CUDA kernels on the caller's stream. Nothing here waits for the device.

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>

#include "ms_deform_attn_cuda.cuh"

#define VM2F_EXPORT extern "C" __attribute__((visibility("default")))

namespace vm2f {
namespace {

bool is_aligned(const void* address) { return reinterpret_cast<uintptr_t>(address) % 16 == 0; }

template <typename T, int kPack>
void launch_forward(const Arguments& args) {
  using Real = typename Accumulator<T>::Type;
  const Launch launch = plan_launch(args, kPack);
  forward_kernel<T, kPack><<<launch.grid, launch.block, 0, static_cast<cudaStream_t>(args.stream)>>>(
      static_cast<const T*>(args.value), static_cast<const Real*>(args.sampling_locations),
      static_cast<const Real*>(args.attention_weights), static_cast<T*>(args.output), launch.levels, launch.sizes);
}

template <typename T, int kPack>
void launch_backward(const Arguments& args) {
  using Real = typename Accumulator<T>::Type;
  const Launch launch = plan_launch(args, kPack);
  backward_kernel<T, kPack><<<launch.grid, launch.block, 0, static_cast<cudaStream_t>(args.stream)>>>(
      static_cast<const T*>(args.grad_output), static_cast<const T*>(args.value),
      static_cast<const Real*>(args.sampling_locations), static_cast<const Real*>(args.attention_weights),
      static_cast<Real*>(args.grad_value), static_cast<Real*>(args.grad_locations),
      static_cast<Real*>(args.grad_weights), launch.levels, launch.sizes);
}

template <typename T>
void forward(const Arguments& args) {
  constexpr int kPack = 16 / sizeof(T);
  const bool fits = args.num_channels % kPack == 0 && is_aligned(args.value) && is_aligned(args.output);
  if (fits) {
    launch_forward<T, kPack>(args);
  } else {
    launch_forward<T, 1>(args);
  }
}

template <typename T>
void backward(const Arguments& args) {
  constexpr int kPack = 16 / sizeof(T);
  const bool fits = args.num_channels % kPack == 0 && is_aligned(args.value) && is_aligned(args.grad_output) &&
                    is_aligned(args.grad_value);
  if (fits) {
    launch_backward<T, kPack>(args);
  } else {
    launch_backward<T, 1>(args);
  }
}

// 0, a negative Status, or a positive cudaError_t.
int32_t check_and_select(const Arguments& args) {
  if (args.num_levels > kMaxCudaLevels) return kTooManyLevels;
  return cudaSetDevice(args.device);
}

}  // namespace
}  // namespace vm2f

VM2F_EXPORT int32_t vm2f_ms_deform_attn_forward_cuda(const vm2f::Arguments* args) {
  if (const int32_t status = vm2f::check_and_select(*args)) return status;
  switch (args->data_type) {
    case vm2f::kFloat32: vm2f::forward<float>(*args); break;
    case vm2f::kFloat64: vm2f::forward<double>(*args); break;
    case vm2f::kBFloat16: vm2f::forward<__nv_bfloat16>(*args); break;
    case vm2f::kFloat16: vm2f::forward<__half>(*args); break;
    default: return vm2f::kUnsupportedType;
  }
  return cudaGetLastError();
}

VM2F_EXPORT int32_t vm2f_ms_deform_attn_backward_cuda(const vm2f::Arguments* args) {
  if (const int32_t status = vm2f::check_and_select(*args)) return status;
  switch (args->data_type) {
    case vm2f::kFloat32: vm2f::backward<float>(*args); break;
    case vm2f::kFloat64: vm2f::backward<double>(*args); break;
    case vm2f::kBFloat16: vm2f::backward<__nv_bfloat16>(*args); break;
    case vm2f::kFloat16: vm2f::backward<__half>(*args); break;
    default: return vm2f::kUnsupportedType;
  }
  return cudaGetLastError();
}

// Whether the kernels can run on a device: the driver must know this CUDA version, and the build the architecture.
VM2F_EXPORT int32_t vm2f_cuda_probe(int32_t device) {
  if (const cudaError_t status = cudaSetDevice(device)) return status;
  cudaFuncAttributes attributes;
  const cudaError_t status = cudaFuncGetAttributes(&attributes, vm2f::forward_kernel<float, 4>);
  cudaGetLastError();  // reported here, so not by the next one to ask
  return status;
}

VM2F_EXPORT const char* vm2f_cuda_error_string(int32_t status) {
  return cudaGetErrorString(static_cast<cudaError_t>(status));
}

VM2F_EXPORT int32_t vm2f_cuda_version() { return CUDART_VERSION; }
