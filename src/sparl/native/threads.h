// Tasks on XLA's thread pool. The order of tasks never shows in a result.
#ifndef SPARL_THREADS_H_
#define SPARL_THREADS_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace sparl {

// Leaves the core to its other hardware thread for a moment.
inline void pause() {
#if defined(SPARL_X86)
  __builtin_ia32_pause();
#endif
}

// Runs task(0) ... task(count - 1), some of them on the pool, and returns when all are done. The
// caller takes part, and waits only for tasks that another thread has begun, never for one that is
// still queued: so a caller that is a thread of the pool itself cannot lock up.
template <class Task>
void parallel_for(xla::ffi::ThreadPool& pool, int64_t count, const Task& task) {
  const int64_t workers = std::min<int64_t>(pool.num_threads(), count);
  if (workers < 2) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  struct Shared {
    Shared(int64_t shares, int64_t tasks) : next(shares) {
      for (int64_t i = 0; i < shares; ++i) next[i] = i * tasks / shares;
    }
    std::vector<std::atomic<int64_t>> next;  // The next task of each share.
    std::atomic<int64_t> done{0};
    std::mutex mutex;
    std::condition_variable all_done;
  };
  auto shared = std::make_shared<Shared>(workers, count);
  // Worker w begins with the same share in every call, as its core may still hold the columns.
  // `task` is alive as long as one is unfinished; a helper that comes later finds none to take.
  auto work = [shared, workers, count, run = &task](int64_t self) {
    int64_t finished = 0;
    for (int64_t w = 0; w < workers; ++w) {
      const int64_t share = (self + w) % workers, end = (share + 1) * count / workers;
      if (shared->next[share].load() >= end) continue;
      for (int64_t i; (i = shared->next[share].fetch_add(1)) < end; ++finished) (*run)(i);
    }
    if (finished == 0 || shared->done.fetch_add(finished) + finished < count) return;
    std::lock_guard<std::mutex> lock(shared->mutex);
    shared->all_done.notify_all();
  };
  for (int64_t w = 1; w < workers; ++w) pool.Schedule([work, w] { work(w); });
  work(0);
  // The others need about as long as this thread did, and to sleep and be woken takes longer.
  constexpr int kLooks = 1 << 12;
  for (int i = 0; i < kLooks && shared->done.load() < count; ++i) pause();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done.load() == count; });
}

// Memory that a thread keeps between calls; contents are whatever the last one left. It begins with
// a line of the cache, since vectors that cross lines load at half the speed.
inline float* scratch(int64_t floats, int which) {
  constexpr std::align_val_t kLine{64};
  struct Free {
    void operator()(float* memory) const { ::operator delete[](memory, kLine); }
  };
  struct Block {
    std::unique_ptr<float[], Free> memory;
    int64_t size = 0;
  };
  thread_local Block blocks[2];
  Block& block = blocks[which];
  if (block.size < floats) {
    block.size = 0;
    block.memory.reset();
    block.memory.reset(static_cast<float*>(::operator new[](floats * sizeof(float), kLine)));
    block.size = floats;
  }
  return block.memory.get();
}

}  // namespace sparl

#endif  // SPARL_THREADS_H_
