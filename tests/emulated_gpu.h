// A block of a GPU's threads on a CPU, one after the other: what `tensorcores.cu` takes of CUDA.
//
// Each thread is a fiber that runs until it must wait for others of its warp or block.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <ucontext.h>
#include <utility>
#include <vector>

#define EMULATED
#define __global__
#define __shared__
#define __launch_bounds__(...)

struct float2 { float x, y; };
struct float4 { float x, y, z, w; };
struct Dimensions { int x = 1, y = 1, z = 1; };
using std::min;

static Dimensions threadIdx, blockIdx, blockDim, gridDim;
float4 shared[1 << 15];

struct Fiber {
    ucontext_t context;
    std::unique_ptr<char[]> stack{new char[1 << 18]};
    bool is_done = false;
};
static ucontext_t scheduler;
static std::vector<Fiber> fibers;

static void wait_for_others() {
    swapcontext(&fibers[threadIdx.x].context, &scheduler);
}

struct Barrier {
    int count = 0, passed = 0;

    void wait(int all) {
        const int before = passed;
        if (++count == all) count = 0, ++passed;
        while (passed == before) wait_for_others();
    }
};
static Barrier of_block, of_warp[32];

static void __syncthreads() { of_block.wait(blockDim.x); }

// Show the others of a warp some numbers, and look at theirs.
template <int N, class Use>
static void exchange(const float (&mine)[N], Use use) {
    static float all[32][32][8];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    std::copy(mine, mine + N, all[warp][lane]);
    of_warp[warp].wait(32);
    use(all[warp], lane);
    of_warp[warp].wait(32);
}

static int __float_as_int(float value) { int bits; std::memcpy(&bits, &value, 4); return bits; }
static float __int_as_float(int bits) { float value; std::memcpy(&value, &bits, 4); return value; }
static float cut_off(float value) { return __int_as_float(__float_as_int(value) & ~0x1fff); }

static float __shfl_sync(unsigned, float value, int from) {
    float found;
    const float mine[1] = {value};
    exchange(mine, [&](auto &all, int) { found = all[from][0]; });
    return found;
}

// m16n8k8, as the manual of PTX lays out its fragments.
static void mma(float (&sum)[4], const float (&a)[4], const float (&b)[2]) {
    const float mine[6] = {a[0], a[1], a[2], a[3], b[0], b[1]};
    exchange(mine, [&](auto &all, int lane) {
        for (int i = 0; i < 4; ++i)
            for (int k = 0; k < 8; ++k)
                sum[i] += cut_off(all[lane / 4 * 4 + k % 4][i / 2 + k / 4 * 2]) *
                          cut_off(all[(lane % 4 * 2 + i % 2) * 4 + k % 4][4 + k / 4]);
    });
}

template <class... Given, std::size_t... I>
static void call(void (*kernel)(Given...), void **given, std::index_sequence<I...>) {
    kernel(*static_cast<Given *>(given[I])...);
}

template <class... Given>
static void launch(void (*kernel)(Given...), Dimensions grid, int threads, void **given) {
    gridDim = grid, blockDim = {threads};
    struct Work { void (*kernel)(Given...); void **given; };
    static Work work;
    work = {kernel, given};
    const auto body = +[] {
        call(work.kernel, work.given, std::index_sequence_for<Given...>{});
        fibers[threadIdx.x].is_done = true;
    };
    for (int block = 0; block < grid.x * grid.y * grid.z; ++block) {
        blockIdx = {block % grid.x, block / grid.x % grid.y, block / grid.x / grid.y};
        fibers = std::vector<Fiber>(threads);
        for (Fiber &fiber : fibers) {
            getcontext(&fiber.context);
            fiber.context.uc_stack.ss_sp = fiber.stack.get();
            fiber.context.uc_stack.ss_size = 1 << 18;
            fiber.context.uc_link = &scheduler;
            makecontext(&fiber.context, body, 0);
        }
        for (bool is_busy = true; is_busy;) {
            is_busy = false;
            for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) {
                if (fibers[threadIdx.x].is_done) continue;
                is_busy = true;
                swapcontext(&scheduler, &fibers[threadIdx.x].context);
            }
        }
    }
}
