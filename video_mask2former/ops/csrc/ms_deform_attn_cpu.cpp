// The CPU kernels for one instruction set. setup.py compiles this file once for each, with its own flags and name.

#include "ms_deform_attn_cpu.h"

#include <atomic>

#define VM2F_JOIN_NAMES(a, b) a##_##b
#define VM2F_JOIN(a, b) VM2F_JOIN_NAMES(a, b)
#define VM2F_VARIANT_NAME(name) VM2F_JOIN(name, VM2F_CPU_VARIANT)

namespace vm2f {
namespace {

struct Job {
  const Arguments& args;
  bool (*run)(const Arguments& args, int64_t begin, int64_t end);
  std::atomic<bool> is_out_of_memory;
};

void run_job(int64_t begin, int64_t end, void* context) {
  Job& job = *static_cast<Job*>(context);
  if (!job.run(job.args, begin, end)) job.is_out_of_memory = true;
}

int32_t run_parallel(const Arguments& args, bool (*run)(const Arguments&, int64_t, int64_t), int64_t size,
                     int64_t grain_size) {
  Job job{args, run, {false}};
  if (size > 0) args.parallel_for(0, size, grain_size, run_job, &job);
  return job.is_out_of_memory ? kOutOfMemory : kSuccess;
}

}  // namespace

int32_t VM2F_VARIANT_NAME(forward)(const Arguments& args) {
  constexpr int64_t kMinimumWork = 1 << 16;  // multiply-adds that are worth a thread
  const int64_t work = 4 * args.num_heads * args.num_channels * args.num_levels * args.num_points;
  const int64_t grain_size = kMinimumWork / (work > 0 ? work : 1) + 1;
  const int64_t size = args.num_images * args.num_queries;
  switch (args.data_type) {
    case kFloat32: return run_parallel(args, forward_queries<float>, size, grain_size);
    case kFloat64: return run_parallel(args, forward_queries<double>, size, grain_size);
    case kBFloat16: return run_parallel(args, forward_queries<BFloat16>, size, grain_size);
    default: return kUnsupportedType;
  }
}

int32_t VM2F_VARIANT_NAME(backward)(const Arguments& args) {
  const int64_t size = args.num_images * args.num_heads;
  switch (args.data_type) {
    case kFloat32: return run_parallel(args, backward_heads<float>, size, 1);
    case kFloat64: return run_parallel(args, backward_heads<double>, size, 1);
    case kBFloat16: return run_parallel(args, backward_heads<BFloat16>, size, 1);
    default: return kUnsupportedType;
  }
}

}  // namespace vm2f
