// Runs CUDA kernels on the CPU, one thread after the other: enough of the language for the kernels of this project.
//
// The 32 lanes of a warp are coroutines. A lane that shuffles waits until all lanes of its warp have come to a shuffle,
// as __shfl_xor_sync with a full mask demands; a lane that returns instead, or goes elsewhere, is reported.

#pragma once

#include <ucontext.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <vector>

#define __CUDA_ARCH__ 900
#define __global__
#define __device__
#define __forceinline__ inline
#define __launch_bounds__(threads)

struct dim3 {
  unsigned x, y, z;
  dim3(unsigned x = 1, unsigned y = 1, unsigned z = 1) : x(x), y(y), z(z) {}
};

struct float4 {
  float x, y, z, w;
};

inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

static dim3 gridDim, blockDim, blockIdx, threadIdx;

namespace emulation {

constexpr int kWarpSize = 32;
constexpr size_t kStackSize = 64 * 1024;

struct Lane {
  ucontext_t context;
  std::vector<char> stack;
  dim3 index;
  bool is_running = false;
  double shuffled = 0;
};

static Lane lanes[kWarpSize];
static ucontext_t scheduler;
static int current = 0;
static std::function<void()> body;

inline void enter_lane() {
  body();
  lanes[current].is_running = false;
  swapcontext(&lanes[current].context, &scheduler);
}

inline void start_lane(int number, unsigned thread) {
  Lane& lane = lanes[number];
  lane.stack.resize(kStackSize);
  lane.index = dim3(thread % blockDim.x, thread / blockDim.x % blockDim.y, thread / blockDim.x / blockDim.y);
  lane.is_running = true;
  getcontext(&lane.context);
  lane.context.uc_stack.ss_sp = lane.stack.data();
  lane.context.uc_stack.ss_size = kStackSize;
  lane.context.uc_link = nullptr;
  makecontext(&lane.context, enter_lane, 0);
}

inline void run_warp(unsigned first_thread) {
  for (int number = 0; number < kWarpSize; ++number) start_lane(number, first_thread + number);
  for (int running = kWarpSize; running > 0;) {
    running = 0;
    for (current = 0; current < kWarpSize; ++current) {
      Lane& lane = lanes[current];
      if (!lane.is_running) continue;
      threadIdx = lane.index;
      swapcontext(&scheduler, &lane.context);
      running += lane.is_running;
    }
    if (running != 0 && running != kWarpSize) throw std::runtime_error("some lanes of a warp left before a shuffle");
  }
}

inline void launch(dim3 grid, dim3 block, std::function<void()> kernel) {
  const unsigned threads = block.x * block.y * block.z;
  if (threads % kWarpSize != 0) throw std::runtime_error("a block is not made of whole warps");
  body = std::move(kernel);
  gridDim = grid, blockDim = block;
  for (unsigned i = 0; i < grid.x; ++i) {
    blockIdx = dim3(i, 0, 0);
    for (unsigned thread = 0; thread < threads; thread += kWarpSize) run_warp(thread);
  }
}

inline void wait_for_warp() {
  const int mine = current;
  swapcontext(&lanes[mine].context, &scheduler);
  threadIdx = lanes[mine].index;
}

}  // namespace emulation

template <typename Real>
Real __shfl_xor_sync(unsigned mask, Real value, unsigned lane_mask) {
  using namespace emulation;
  if (mask != 0xffffffffu) throw std::runtime_error("only full masks are emulated");
  const int mine = current;
  lanes[mine].shuffled = static_cast<double>(value);
  wait_for_warp();  // until all have written
  const Real result = static_cast<Real>(lanes[mine ^ lane_mask].shuffled);
  wait_for_warp();  // until all have read
  return result;
}

template <typename Real>
Real atomicAdd(Real* address, Real value) {
  const Real old = *address;
  *address += value;
  return old;
}

inline void atomicAdd(float4* address, float4 value) {
  if (reinterpret_cast<uintptr_t>(address) % 16 != 0) throw std::runtime_error("a vector atomic is not aligned");
  address->x += value.x;
  address->y += value.y;
  address->z += value.z;
  address->w += value.w;
}
