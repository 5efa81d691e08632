// The threads of a block as fibers (cuda_emulation.hpp).
#include <ucontext.h>

#include <memory>
#include <vector>

#include "cuda_emulation.hpp"

Dimensions threadIdx, blockIdx, blockDim, gridDim;

// AddressSanitizer is told of every change of stacks.
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#else
static void __sanitizer_start_switch_fiber(void**, const void*, size_t) {}
static void __sanitizer_finish_switch_fiber(void*, const void**, size_t*) {}
#endif

namespace emulation {
namespace {

constexpr size_t STACK = 128 << 10;     // bytes

struct Fiber {
  ucontext_t context;
  std::unique_ptr<char[]> stack{new char[STACK]};
  bool running = false;
};

std::vector<Fiber> fibers;
Fiber* current;
ucontext_t scheduler;
const void* scheduler_stack;
size_t scheduler_size;
void (*thread_body)(const void*);
const void* thread_data;

void to_scheduler() {
  void* fake_stack = nullptr;       // is thrown away when the fiber has ended
  __sanitizer_start_switch_fiber(current->running ? &fake_stack : nullptr, scheduler_stack,
                                 scheduler_size);
  swapcontext(&current->context, &scheduler);
  __sanitizer_finish_switch_fiber(fake_stack, &scheduler_stack, &scheduler_size);
}

void run_thread() {
  __sanitizer_finish_switch_fiber(nullptr, &scheduler_stack, &scheduler_size);
  thread_body(thread_data);
  current->running = false;
  to_scheduler();
}

void start(Fiber& fiber) {
  getcontext(&fiber.context);
  fiber.context.uc_stack.ss_sp = fiber.stack.get();
  fiber.context.uc_stack.ss_size = STACK;
  fiber.context.uc_link = nullptr;
  makecontext(&fiber.context, run_thread, 0);
  fiber.running = true;
}

void resume(Fiber& fiber) {
  current = &fiber;
  void* fake_stack = nullptr;
  __sanitizer_start_switch_fiber(&fake_stack, fiber.stack.get(), STACK);
  swapcontext(&scheduler, &fiber.context);
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
}

Dimensions place(unsigned k, const Dimensions& size) {
  return {k % size.x, k / size.x % size.y, k / size.x / size.y};
}

unsigned count(const Dimensions& size) { return size.x * size.y * size.z; }

// Number k of `count`, in the order asked for.
unsigned turn(unsigned k, unsigned count, bool backwards) {
  return backwards ? count - 1 - k : k;
}

Outcome run_block(unsigned threads, bool backwards) {
  for (unsigned t = 0; t < threads; ++t) start(fibers[t]);
  for (unsigned waiting = threads; waiting > 0;) {
    waiting = 0;
    for (unsigned k = 0; k < threads; ++k) {
      const unsigned t = turn(k, threads, backwards);
      threadIdx = place(t, blockDim);
      resume(fibers[t]);
      waiting += fibers[t].running;
    }
    if (waiting && waiting != threads) return BARRIER_NOT_MET_BY_ALL;
  }
  return DONE;
}

}  // namespace

Outcome run(const Launch& launch, void (*body)(const void*), const void* data) {
  thread_body = body;
  thread_data = data;
  gridDim = launch.grid;
  blockDim = launch.block;
  if (fibers.size() < count(blockDim)) fibers = std::vector<Fiber>(count(blockDim));
  for (unsigned k = 0; k < count(gridDim); ++k) {
    blockIdx = place(turn(k, count(gridDim), launch.backwards), gridDim);
    const Outcome outcome = run_block(count(blockDim), launch.backwards);
    if (outcome != DONE) return outcome;
  }
  return DONE;
}

}  // namespace emulation

void __syncthreads() { emulation::to_scheduler(); }
