// Batches of episodes, read from the replay's rows, as XLA's foreign function.
#include <algorithm>
#include <vector>

#if defined(SPARL_X86)
#include <emmintrin.h>
#endif

#include "ffi_checks.h"
#include "threads.h"

namespace sparl {
namespace {

using Halves = ffi::Buffer<ffi::F16>;

// to[f * stride + r] = rows[r][f] for eight rows and eight features.
void transpose_tile(const uint16_t* const* rows, int64_t f, uint16_t* to, int64_t stride) {
#if defined(SPARL_X86)
  __m128i a[8], b[8];
  for (int i = 0; i < 8; ++i) {
    a[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(rows[i] + f));
  }
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
    b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
  }
  for (int i = 0; i < 4; ++i) {
    a[2 * i] = _mm_unpacklo_epi16(b[i], b[i + 4]);
    a[2 * i + 1] = _mm_unpackhi_epi16(b[i], b[i + 4]);
  }
  for (int i = 0; i < 4; ++i) {
    b[2 * i] = _mm_unpacklo_epi16(a[i], a[i + 4]);
    b[2 * i + 1] = _mm_unpackhi_epi16(a[i], a[i + 4]);
  }
  for (int i = 0; i < 8; ++i) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to + (f + i) * stride), b[i]);
  }
#else
  for (int i = 0; i < 8; ++i) {
    for (int r = 0; r < 8; ++r) to[(f + i) * stride + r] = rows[r][f + i];
  }
#endif
}

// to[f * stride + r] = rows[r][f].
void transpose(const std::vector<const uint16_t*>& rows, int64_t features, uint16_t* to,
               int64_t stride) {
  const int64_t count = rows.size();
  for (int64_t r = 0; r < count; r += 8) {
    const int64_t most = std::min<int64_t>(8, count - r);
    int64_t f = 0;
    if (most == 8) {
      for (; f + 8 <= features; f += 8) transpose_tile(&rows[r], f, to + r, stride);
    }
    for (; f < features; ++f) {
      for (int64_t i = 0; i < most; ++i) to[f * stride + r + i] = rows[r + i][f];
    }
  }
}

// One ring's rows and a batch of it. See sparl.replay.batch for what they hold.
template <class Action>
struct Gather {
  int64_t rows, agents, obs_dim, state_dim, num_actions, bytes;  // Bytes of one agent's bits.
  int64_t episodes, steps, features;
  const uint16_t *obs, *state;
  const uint8_t* avail_bits;
  const Action* actions;
  const int32_t *start, *length;
  uint16_t *inputs, *states;
  bool* avail;

  void step(int64_t t) const {
    const int64_t columns = episodes * agents;
    const std::vector<uint16_t> nothing(std::max(obs_dim, state_dim));
    std::vector<const uint16_t*> seen_by(columns), of_episode(episodes);
    for (int64_t b = 0; b < episodes; ++b) {
      const int64_t row = start[b] + t;
      const bool seen = t <= length[b];
      of_episode[b] = seen ? state + row * state_dim : nothing.data();
      for (int64_t a = 0; a < agents; ++a) {
        seen_by[b * agents + a] = seen ? obs + (row * agents + a) * obs_dim : nothing.data();
      }
    }
    transpose(of_episode, state_dim, states + t * episodes, steps * episodes);
    uint16_t* own = inputs + t * features * columns;
    transpose(seen_by, obs_dim, own, columns);
    write_codes(t, own + obs_dim * columns);
    write_available(t, avail + t * num_actions * columns);
  }

  // The last action and the agent, both one-hot.
  void write_codes(int64_t t, uint16_t* to) const {
    constexpr uint16_t kOne = 0x3c00;
    const int64_t columns = episodes * agents;
    std::fill(to, to + (num_actions + agents) * columns, uint16_t{0});
    for (int64_t b = 0; b < episodes; ++b) {
      for (int64_t a = 0; a < agents; ++a) {
        const int64_t column = b * agents + a;
        to[(num_actions + a) * columns + column] = kOne;
        if (t == 0 || t > length[b]) continue;
        const int64_t action = actions[(start[b] + t - 1) * agents + a];
        if (action < num_actions) to[action * columns + column] = kOne;
      }
    }
  }

  // Past an episode's end all actions are.
  void write_available(int64_t t, bool* to) const {
    const int64_t columns = episodes * agents;
    std::vector<uint8_t> bits(columns);
    for (int64_t action = 0; action < num_actions; ++action, to += columns) {
      if (action % 8 == 0) {
        for (int64_t c = 0; c < columns; ++c) {
          const int64_t b = c / agents, row = (start[b] + t) * agents + c % agents;
          bits[c] = t <= length[b] ? avail_bits[row * bytes + action / 8] : 0xff;
        }
      }
      for (int64_t c = 0; c < columns; ++c) to[c] = bits[c] >> (7 - action % 8) & 1;
    }
  }
};

// The dimensions in front of the last `rank`, which all arrays share, multiplied.
ffi::Error read_leading(Shape shape, size_t rank, int64_t* leading) {
  if (shape.size() < rank) {
    return invalid("the replay's obs have shape " + shape_of(shape) + ", too few dimensions");
  }
  *leading = 1;
  for (size_t i = 0; i + rank < shape.size(); ++i) *leading *= shape[i];
  return ffi::Error::Success();
}

template <class Buffer>
ffi::Error check_trailing(const char* name, const Buffer& buffer, int64_t leading,
                          std::initializer_list<int64_t> wanted) {
  const Shape shape = buffer.dimensions();
  int64_t count = leading;
  for (int64_t d : wanted) count *= d;
  if (shape.size() >= wanted.size() && static_cast<int64_t>(buffer.element_count()) == count &&
      std::equal(wanted.begin(), wanted.end(), shape.end() - wanted.size())) {
    return ffi::Error::Success();
  }
  return invalid(std::string(name) + " has shape " + shape_of(shape) + ", expected it to end in " +
                 shape_of(Shape(wanted.begin(), wanted.size())));
}

template <class Action>
ffi::Error run_gather(ffi::ThreadPool pool, Halves obs, Halves state, ffi::Buffer<ffi::U8> avail,
                      ffi::AnyBuffer actions, Ints start, Ints length, ffi::Result<Halves> inputs,
                      ffi::Result<Halves> states, ffi::Result<ffi::Buffer<ffi::PRED>> available) {
  int64_t rings;
  SPARL_CHECK(read_leading(obs.dimensions(), 3, &rings));
  if (state.dimensions().size() < 2 || avail.dimensions().size() < 3 ||
      start.dimensions().size() < 1 || inputs->dimensions().size() < 3 ||
      available->dimensions().size() < 3) {
    return invalid("the replay's arrays have too few dimensions");
  }
  Gather<Action> first;
  const Shape seen = obs.dimensions();
  first.rows = seen[seen.size() - 3];
  first.agents = seen[seen.size() - 2];
  first.obs_dim = seen[seen.size() - 1];
  first.state_dim = state.dimensions().back();
  first.bytes = avail.dimensions().back();
  first.episodes = start.dimensions().back();
  first.features = inputs->dimensions()[inputs->dimensions().size() - 2];
  first.steps = inputs->dimensions()[inputs->dimensions().size() - 3];
  first.num_actions = first.features - first.obs_dim - first.agents;
  const int64_t columns = first.episodes * first.agents;
  if (first.num_actions < 1 || first.bytes != (first.num_actions + 7) / 8) {
    return invalid("inputs of " + std::to_string(first.features) +
                   " features do not go with the observations and the available actions");
  }
  SPARL_CHECK(check_trailing("obs", obs, rings, {first.rows, first.agents, first.obs_dim}));
  SPARL_CHECK(check_trailing("state", state, rings, {first.rows, first.state_dim}));
  SPARL_CHECK(check_trailing("avail_actions", avail, rings,
                             {first.rows, first.agents, first.bytes}));
  SPARL_CHECK(check_trailing("actions", actions, rings, {first.rows, first.agents}));
  SPARL_CHECK(check_trailing("start", start, rings, {first.episodes}));
  SPARL_CHECK(check_trailing("length", length, rings, {first.episodes}));
  SPARL_CHECK(check_trailing("inputs", *inputs, rings, {first.steps, first.features, columns}));
  SPARL_CHECK(check_trailing("states", *states, rings,
                             {first.state_dim, first.steps, first.episodes}));
  SPARL_CHECK(check_trailing("available", *available, rings,
                             {first.steps, first.num_actions, columns}));
  for (size_t i = 0; i < start.element_count(); ++i) {
    const int64_t from = start.typed_data()[i];
    if (from < 0 || from + first.steps > first.rows) {
      return invalid("an episode begins at row " + std::to_string(from) + ", and " +
                     std::to_string(first.steps) + " steps from there leave the " +
                     std::to_string(first.rows) + " rows of the replay");
    }
  }

  parallel_for(pool, rings * first.steps, [&](int64_t i) {
    const int64_t ring = i / first.steps;
    Gather<Action> own = first;
    own.obs = reinterpret_cast<const uint16_t*>(obs.typed_data()) +
              ring * own.rows * own.agents * own.obs_dim;
    own.state = reinterpret_cast<const uint16_t*>(state.typed_data()) +
                ring * own.rows * own.state_dim;
    own.avail_bits = avail.typed_data() + ring * own.rows * own.agents * own.bytes;
    own.actions = static_cast<const Action*>(actions.untyped_data()) + ring * own.rows * own.agents;
    own.start = start.typed_data() + ring * own.episodes;
    own.length = length.typed_data() + ring * own.episodes;
    own.inputs = reinterpret_cast<uint16_t*>(inputs->typed_data()) +
                 ring * own.steps * own.features * columns;
    own.states = reinterpret_cast<uint16_t*>(states->typed_data()) +
                 ring * own.state_dim * own.steps * own.episodes;
    own.avail = available->typed_data() + ring * own.steps * own.num_actions * columns;
    own.step(i % first.steps);
  });
  return ffi::Error::Success();
}

ffi::Error gather(ffi::ThreadPool pool, Halves obs, Halves state, ffi::Buffer<ffi::U8> avail,
                  ffi::AnyBuffer actions, Ints start, Ints length, ffi::Result<Halves> inputs,
                  ffi::Result<Halves> states, ffi::Result<ffi::Buffer<ffi::PRED>> available) {
  if (actions.element_type() == ffi::U8) {
    return run_gather<uint8_t>(pool, obs, state, avail, actions, start, length, inputs, states,
                               available);
  }
  if (actions.element_type() == ffi::U16) {
    return run_gather<uint16_t>(pool, obs, state, avail, actions, start, length, inputs, states,
                                available);
  }
  return invalid("actions must be uint8 or uint16");
}

}  // namespace
}  // namespace sparl

namespace ffi = xla::ffi;

XLA_FFI_DEFINE_HANDLER_SYMBOL(SparlGather, sparl::gather,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<sparl::Halves>()
                                  .Arg<sparl::Halves>()
                                  .Arg<ffi::Buffer<ffi::U8>>()
                                  .Arg<ffi::AnyBuffer>()
                                  .Arg<sparl::Ints>()
                                  .Arg<sparl::Ints>()
                                  .Ret<sparl::Halves>()
                                  .Ret<sparl::Halves>()
                                  .Ret<ffi::Buffer<ffi::PRED>>());
