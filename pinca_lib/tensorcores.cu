// A rule's step on an NVIDIA GPU: what `fused` compiles and launches.
//
// A warp takes 16 ROWS cells at a time: it filters them, applies both layers, adds and bounds, and
// nothing of it leaves its registers. That is so since a lane may choose which number of a product's
// sum it brings: of the filters' it brings all of a channel of its own, and of the hidden layer's
// those that it was left with by the product before. Products of float32 are made of three of TF32.
//
// States are (B, C, H, W). `seen` are the channels of the slots that are perceived, by halves, and
// `written` those of the slots that are written, or C: the even ones, then the odd ones, each half
// filled up to whole parts of 4, or tiles of 8, in the order of `frames.halves`. A rule that does
// not follow the wind perceives even slots alone. `weights` are those of `fused.Rule`.

enum { GEO_MASK = 2, BASE_COUNT = 6, U = 6, V, SPEED, TKE, FLUX, KNOWN_COUNT = 12 };  // `channels`
enum { PART = 4, TILE = 8, LANES = 32 };
enum { VECTORS_SEEN = 3, VECTORS_WRITTEN = 2 };  // the first slots of each half: of x, and of y

#ifndef EMULATED  // tests do this on a CPU
void mma(float (&sum)[4], const float (&a)[4], const float (&b)[2]) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
        "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
        : "+f"(sum[0]), "+f"(sum[1]), "+f"(sum[2]), "+f"(sum[3])
        : "r"(__float_as_int(a[0])), "r"(__float_as_int(a[1])), "r"(__float_as_int(a[2])),
          "r"(__float_as_int(a[3])), "r"(__float_as_int(b[0])), "r"(__float_as_int(b[1])));
}
#endif

float as_tf32(float value) {  // rounded; what is left over is cut off by the hardware
    return __int_as_float((__float_as_int(value) + 0x1000) & ~0x1fff);
}

// Neither drops what is not a number.
float at_least(float value, float low) {
    return value >= low || value != value ? value : low;
}

float at_most(float value, float high) {
    return value <= high || value != value ? value : high;
}

void turn(float cos, float sin, float &x, float &y) {
    const float before = x;
    x = cos * x - sin * y;
    y = sin * before + cos * y;
}

// What `automaton.bounded` does to a channel of a cell with that |(u, v)| and TKE.
float bounded(int channel, float value, float least_speed, float tke, const float *alpha) {
    const float most = float(1 - MARGIN) * *alpha * at_least(tke, 0);
    if (channel == SPEED) return at_least(value, float(1 + MARGIN) * least_speed);
    if (channel == TKE) return at_least(value, 0);
    if (channel == FLUX) return at_most(at_least(value, -most), most);
    if (channel >= KNOWN_COUNT) return at_most(at_least(value, -MEMORY_LIMIT), MEMORY_LIMIT);
    return value;
}

struct Cell {  // and where its neighbours' rows begin, and their columns
    int cell, up, y, down, left, x, right;

    void place(int number, int height, int width) {
        cell = min(number, height * width - 1);
        const int row = cell / width;
        x = cell - row * width;
        y = row * width;
        up = row > 0 ? y - width : (height - 1) * width;
        down = row < height - 1 ? y + width : 0;
        left = x > 0 ? x - 1 : width - 1;
        right = x < width - 1 ? x + 1 : 0;
    }
};

// What the filters see of a channel: it, its slope along x, its Laplacian, its slope along y.
template <int CELLS>
void look(const float *plane, const Cell (&cells)[CELLS], float (&seen)[4][CELLS]) {
#pragma unroll
    for (int i = 0; i < CELLS; ++i) {
        const Cell &at = cells[i];
        const float *up = plane + at.up, *level = plane + at.y, *down = plane + at.down;
        const float own = level[at.x], west = level[at.left], east = level[at.right];
        const float above = up[at.left] + 2 * up[at.x] + up[at.right];
        const float below = down[at.left] + 2 * down[at.x] + down[at.right];
        seen[0][i] = own;
        seen[1][i] = up[at.right] - up[at.left] + 2 * (east - west) + down[at.right] - down[at.left];
        seen[2][i] = above + below + 2 * (west + east) - 12 * own;
        seen[3][i] = below - above;
    }
}

// Add to tiles FIRST to LAST of `sums`, of 16 cells by 8 each, what 8 numbers of the cells make of
// them: a lane brings `a` and `b` of its cells, and the weights lie as the lanes need them.
template <int FIRST, int LAST, int ROWS, int TILES>
void absorb(float (&sums)[ROWS][TILES][4], const float (&a)[2 * ROWS], const float (&b)[2 * ROWS],
            const float2 *weights) {
    float large[ROWS][4], rest[ROWS][4];
#pragma unroll
    for (int row = 0; row < ROWS; ++row) {
        const float values[4] = {a[2 * row], a[2 * row + 1], b[2 * row], b[2 * row + 1]};
#pragma unroll
        for (int i = 0; i < 4; ++i) {
            large[row][i] = as_tf32(values[i]);
            rest[row][i] = values[i] - large[row][i];
        }
    }
#pragma unroll
    for (int tile = FIRST; tile < LAST; ++tile) {
        const float2 weight = weights[tile * LANES + threadIdx.x % LANES];
        const float large_weight[2] = {as_tf32(weight.x), as_tf32(weight.y)};
        const float rest_weight[2] = {weight.x - large_weight[0], weight.y - large_weight[1]};
#pragma unroll
        for (int row = 0; row < ROWS; ++row) mma(sums[row][tile], rest[row], large_weight);
#pragma unroll
        for (int row = 0; row < ROWS; ++row) mma(sums[row][tile], large[row], rest_weight);
#pragma unroll
        for (int row = 0; row < ROWS; ++row) mma(sums[row][tile], large[row], large_weight);
    }
}

// EVEN_PARTS and ODD_PARTS are perceived, EVEN_TILES and ODD_TILES written, of each of blockIdx.y
// chunks of 8 UNITS hidden units. ADDS: `next` is the next state, kept in bounds if alpha is given;
// else what is added to it, (chunks, B, C, H, W).
template <int EVEN_PARTS, int ODD_PARTS, int UNITS, int EVEN_TILES, int ODD_TILES, bool ADDS>
__global__ void __launch_bounds__(THREADS, 1)
step(const float *__restrict__ own, float *__restrict__ next, const float *__restrict__ weights,
     const float *__restrict__ winds, const int *__restrict__ seen, const int *__restrict__ written,
     int batch, int channels, int height, int width, const float *alpha) {
    constexpr bool FOLLOWS = ODD_PARTS > 0;
    constexpr int ROWS = FOLLOWS ? 1 : 2, SPAN = 16 * ROWS, TILES = EVEN_TILES + ODD_TILES;
    constexpr int BLOCKS = FOLLOWS ? 3 * EVEN_PARTS + ODD_PARTS : 2 * EVEN_PARTS;
    constexpr int WEIGHTS = TILE * UNITS + 2 * LANES * UNITS * (BLOCKS + TILES);
    extern __shared__ float4 shared[];
    for (int i = threadIdx.x; i < WEIGHTS / 4; i += blockDim.x)
        shared[i] = reinterpret_cast<const float4 *>(weights + blockIdx.y * WEIGHTS)[i];
    __syncthreads();
    const float2 *bias = reinterpret_cast<const float2 *>(shared);
    const float2 *first = bias + TILE * UNITS / 2, *second = first + LANES * UNITS * BLOCKS;

    const int lane = threadIdx.x % LANES, group = lane / 4, place = lane % 4;
    const int size = height * width, spans = (size + SPAN - 1) / SPAN;
    next += size_t(blockIdx.y) * batch * channels * size;
    int channel[TILES][2];
#pragma unroll
    for (int i = 0; i < 2 * TILES; ++i)
        channel[i / 2][i % 2] = written[i / 2 * TILE + 2 * place + i % 2];

    const int warp = threadIdx.x / LANES * gridDim.x + blockIdx.x;
    for (int span = warp; span < batch * spans; span += gridDim.x * (blockDim.x / LANES)) {
        const int sample = span / spans, start = span % spans * SPAN;
        const float *state = own + size_t(sample) * channels * size;
        const float cos = FOLLOWS ? winds[2 * sample] : 1, sin = FOLLOWS ? winds[2 * sample + 1] : 0;
        Cell cells[2 * ROWS];
#pragma unroll
        for (int i = 0; i < 2 * ROWS; ++i)
            cells[i].place(start + 8 * i + group, height, width);

        float hidden[ROWS][UNITS][4], odd_hidden[ROWS][UNITS][4];
#pragma unroll
        for (int i = 0; i < ROWS * UNITS; ++i) {
            const float2 of_unit = bias[i % UNITS * PART + place];
            float(&even)[4] = hidden[i / UNITS][i % UNITS];
            float(&odd)[4] = odd_hidden[i / UNITS][i % UNITS];
            even[0] = even[2] = of_unit.x;
            even[1] = even[3] = of_unit.y;
            odd[0] = odd[1] = odd[2] = odd[3] = 0;
        }
        const float2 *block = first;
        const auto absorb_all = [&](auto &sums, const auto &a, const auto &b) {
            absorb<0, UNITS>(sums, a, b, block);
            block += LANES * UNITS;
        };
#pragma unroll
        for (int part = 0; part < EVEN_PARTS; ++part) {
            const int slot = PART * part + place;
            float even[4][2 * ROWS], odd[4][2 * ROWS] = {};
            look(state + size_t(seen[slot]) * size, cells, even);
            if (FOLLOWS) {
                if (part < ODD_PARTS)
                    look(state + size_t(seen[PART * EVEN_PARTS + slot]) * size, cells, odd);
#pragma unroll
                for (int i = 0; i < 4 * 2 * ROWS && part == 0 && place < VECTORS_SEEN; ++i)
                    turn(cos, -sin, even[i / (2 * ROWS)][i % (2 * ROWS)],
                         odd[i / (2 * ROWS)][i % (2 * ROWS)]);
#pragma unroll
                for (int i = 0; i < 2 * ROWS; ++i) {
                    turn(cos, -sin, even[1][i], even[3][i]);
                    turn(cos, -sin, odd[1][i], odd[3][i]);
                }
            }
            absorb_all(hidden, even[0], even[1]);
            absorb_all(hidden, even[2], FOLLOWS ? odd[3] : even[3]);
            if (part < ODD_PARTS) absorb_all(odd_hidden, odd[0], odd[1]);
            if (FOLLOWS) absorb_all(odd_hidden, odd[2], even[3]);
        }

        float added[ROWS][TILES][4] = {};
#pragma unroll
        for (int unit = 0; unit < UNITS; ++unit) {
            float even[2][2 * ROWS], odd[2][2 * ROWS];
#pragma unroll
            for (int i = 0; i < 4 * ROWS; ++i) {
                const int row = i / 4, column = i % 2, cell = i / 2;  // of this row: i / 2 % 2
                const float of_even = hidden[row][unit][i % 4], of_odd = odd_hidden[row][unit][i % 4];
                const float plain = at_least(of_even + of_odd, 0);
                const float image = at_least(of_even - of_odd, 0);
                even[column][cell] = FOLLOWS ? plain + image : plain;
                odd[column][cell] = FOLLOWS ? plain - image : plain;
            }
            const float2 *of_unit = second + LANES * TILES * unit;
            absorb<0, EVEN_TILES>(added, even[0], even[1], of_unit);
            absorb<EVEN_TILES, TILES>(added, odd[0], odd[1], of_unit);
        }

#pragma unroll
        for (int i = 0; i < 2 * ROWS; ++i) {  // cells
            const int cell = cells[i].cell;
            const bool is_own = start + 8 * i + group < size;
            const float air = state[GEO_MASK * size + cell];
            float values[TILES][2];
#pragma unroll
            for (int k = 0; k < 2 * TILES; ++k)
                values[k / 2][k % 2] = added[i / 2][k / 2][i % 2 * 2 + k % 2];
            if (FOLLOWS && place < VECTORS_WRITTEN / 2)
                for (int k = 0; k < 2; ++k) turn(cos, sin, values[0][k], values[EVEN_TILES][k]);
#pragma unroll
            for (int k = 0; k < 2 * TILES; ++k) {
                float &value = values[k / 2][k % 2];
                value *= air;
                if (ADDS && channel[k / 2][k % 2] < channels)
                    value += state[size_t(channel[k / 2][k % 2]) * size + cell];
            }
            if (ADDS && alpha) {
                const float u = values[0][0], v = values[EVEN_TILES][0];
                const float least = __shfl_sync(~0u, sqrtf(u * u + v * v), lane & ~3);
                const float tke = __shfl_sync(~0u, values[0][1], lane & ~3 | 1);
#pragma unroll
                for (int k = 0; k < 2 * TILES && air > 0; ++k)
                    values[k / 2][k % 2] =
                        bounded(channel[k / 2][k % 2], values[k / 2][k % 2], least, tke, alpha);
            }
#pragma unroll
            for (int k = 0; k < 2 * TILES; ++k)
                if (is_own && channel[k / 2][k % 2] < channels)
                    next[(size_t(sample) * channels + channel[k / 2][k % 2]) * size + cell] =
                        values[k / 2][k % 2];
        }
    }
}

// Write the means of the dynamic channels over the air of blocks of scale × scale cells.
extern "C" __global__ void average(const float *__restrict__ own, float *__restrict__ means,
                                   int channels, int height, int width, int scale) {
    const int high = (height + scale - 1) / scale, wide = (width + scale - 1) / scale;
    const int block = blockIdx.x * blockDim.x + threadIdx.x, channel = BASE_COUNT + blockIdx.y;
    if (block >= high * wide) return;
    const int top = block / wide * scale, left = block % wide * scale;
    const float *state = own + size_t(blockIdx.z) * channels * height * width;
    const float *airs = state + GEO_MASK * height * width, *plane = state + channel * height * width;
    float air = 0, sum = 0;
    for (int y = top; y < min(top + scale, height); ++y)
        for (int x = left; x < min(left + scale, width); ++x) {
            air += airs[y * width + x];
            sum += airs[y * width + x] * plane[y * width + x];
        }
    means[(size_t(blockIdx.z) * channels + channel) * high * wide + block] = air > 0 ? sum / air : sum;
}

// Write the state plus, in air, what chunks of hidden units add to its blocks, in bounds.
extern "C" __global__ void spread(const float *__restrict__ own, float *__restrict__ next,
                                  const float *__restrict__ blocks, int chunks, int channels,
                                  int height, int width, int scale, const float *alpha) {
    const int high = (height + scale - 1) / scale, wide = (width + scale - 1) / scale;
    const int cell = blockIdx.x * blockDim.x + threadIdx.x, size = height * width;
    if (cell >= size) return;
    const size_t sample = blockIdx.z, batch = gridDim.z;
    const bool is_air = own[(sample * channels + GEO_MASK) * size + cell] > 0;
    const int block = cell / width / scale * wide + cell % width / scale;
    const auto sum = [&](int channel) {
        float added = 0;
        for (int chunk = 0; chunk < chunks; ++chunk)
            added += blocks[((chunk * batch + sample) * channels + channel) * high * wide + block];
        return own[(sample * channels + channel) * size + cell] + is_air * added;
    };
    const float u = sum(U), v = sum(V), least_speed = sqrtf(u * u + v * v), tke = sum(TKE);
    for (int channel = BASE_COUNT; channel < channels; ++channel) {
        const float value = sum(channel);
        next[(sample * channels + channel) * size + cell] =
            is_air && alpha ? bounded(channel, value, least_speed, tke, alpha) : value;
    }
}
