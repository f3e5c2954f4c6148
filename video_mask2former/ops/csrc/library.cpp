// The library's C interface, called from ms_deform_attn_kernels.py. It knows nothing of torch or Python, so one build
// serves every version of both.

#include "library.h"

#include <algorithm>
#include <system_error>
#include <thread>
#include <vector>

#include "ms_deform_attn.h"

namespace vm2f {

#define VM2F_DECLARE_VARIANT(variant)               \
  int32_t forward_##variant(const Arguments& args); \
  int32_t backward_##variant(const Arguments& args);

VM2F_DECLARE_VARIANT(baseline)
#ifdef VM2F_X86_VARIANTS
VM2F_DECLARE_VARIANT(avx2)
VM2F_DECLARE_VARIANT(avx512)
#endif

namespace {

struct Variant {
  const char* name;
  int32_t (*forward)(const Arguments& args);
  int32_t (*backward)(const Arguments& args);
};

Variant best_variant() {
#ifdef VM2F_X86_VARIANTS
  __builtin_cpu_init();
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512vl");
  if (has_avx2 && has_avx512) return {"avx512", forward_avx512, backward_avx512};
  if (has_avx2) return {"avx2", forward_avx2, backward_avx2};
#endif
  return {"baseline", forward_baseline, backward_baseline};
}

const Variant& variant() {
  static const Variant best = best_variant();
  return best;
}

// Stands in for torch_parallel_for with versions of torch that lack it. Starting threads costs tens of microseconds,
// the kernels run for milliseconds.
thread_local int32_t own_num_threads = 1;

int32_t own_parallel_for(int64_t begin, int64_t end, int64_t grain_size, ParallelBody body, void* context) {
  const int64_t pieces = std::max<int64_t>(1, std::min<int64_t>(own_num_threads, (end - begin) / grain_size));
  const int64_t length = (end - begin + pieces - 1) / pieces;
  std::vector<std::thread> threads;
  for (int64_t start = begin + length; start < end; start += length) {
    const int64_t stop = std::min(end, start + length);
    try {
      threads.emplace_back([=] { body(start, stop, context); });
    } catch (const std::system_error&) {  // no thread left in the system
      body(start, stop, context);
    }
  }
  body(begin, std::min(end, begin + length), context);
  for (std::thread& thread : threads) thread.join();
  return kSuccess;
}

int32_t run(int32_t (*kernel)(const Arguments& args), const Arguments& args) {
  if (args.parallel_for != nullptr) return kernel(args);
  Arguments threaded = args;
  threaded.parallel_for = own_parallel_for;
  own_num_threads = args.num_threads;
  return kernel(threaded);
}

}  // namespace
}  // namespace vm2f

VM2F_EXPORT int32_t vm2f_interface_version() { return VM2F_INTERFACE_VERSION; }

VM2F_EXPORT const char* vm2f_cpu_variant() { return vm2f::variant().name; }

VM2F_EXPORT int32_t vm2f_ms_deform_attn_forward_cpu(const vm2f::Arguments* args) {
  return vm2f::run(vm2f::variant().forward, *args);
}

VM2F_EXPORT int32_t vm2f_ms_deform_attn_backward_cpu(const vm2f::Arguments* args) {
  return vm2f::run(vm2f::variant().backward, *args);
}
