"""Triton kernels for the operations between matrix products.

    B  batch      H, W  height and width of the map    L  positions, H * W
    C  channels   k     side of a convolution's window

Maps are channels last; a pixel's channels are adjacent, and `stride` is the distance from one pixel
to the next, so that a kernel can read or fill a slice of a wider map. Arithmetic is always float32.

`model.engines.cuda.fused` launches them.
"""

import triton
import triton.language as tl


@triton.jit
def row_norm(
    x, gate, weight, bias, moves, y, rows, C, x_stride, gate_stride, eps, per_image,
    GATED: tl.constexpr, MOVED: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, BLOCK)
    there = (r < rows)[:, None] & (c < C)[None, :]
    far = r.to(tl.int64)
    values = tl.load(x + far[:, None] * x_stride + c[None, :], mask=there, other=0.0)
    values = values.to(tl.float32)
    mean = tl.sum(values, 1) / C
    centred = tl.where(there, values - mean[:, None], 0.0)
    scale = 1.0 / tl.sqrt(tl.sum(centred * centred, 1) / C + eps)
    w = tl.load(weight + c, mask=c < C, other=0.0)
    b = tl.load(bias + c, mask=c < C, other=0.0)
    out = centred * scale[:, None] * w[None, :] + b[None, :]
    if GATED:
        g = tl.load(gate + far[:, None] * gate_stride + c[None, :], mask=there, other=0.0)
        g = g.to(tl.float32)
        out = out * g * tl.sigmoid(g)
    if MOVED:
        moved = tl.load(moves + r % per_image, mask=r < rows, other=0)
        far = far // per_image * per_image + moved
    tl.store(y + far[:, None] * C + c[None, :], out.to(y.dtype.element_ty), mask=there)


@triton.jit
def depthwise(
    x, weight, bias, y, H, W, C, x_stride, y_stride,
    SIDE: tl.constexpr, ADDS: tl.constexpr, SILU: tl.constexpr,
    PIXELS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    across = tl.cdiv(W, PIXELS)
    line = tl.program_id(0) // across  # image * H + row
    row = line % H
    column = tl.program_id(0) % across * PIXELS + tl.arange(0, PIXELS)
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    wide = (c < C)[None, :]
    start = line.to(tl.int64) * W
    total = tl.zeros((PIXELS, BLOCK), dtype=tl.float32)
    for i in range(SIDE):  # not unrolled: that takes seconds to compile
        down = i - SIDE // 2
        for j in tl.static_range(SIDE):
            at = column + (j - SIDE // 2)
            onto = row + down + 0 * at  # a vector, as the others in the mask
            there = (at >= 0) & (at < W) & (onto >= 0) & (onto < H)
            pixel = start + down * W + at
            values = tl.load(
                x + pixel[:, None] * x_stride + c[None, :], mask=there[:, None] & wide, other=0.0
            )
            w = tl.load(weight + (i * SIDE + j) * C + c, mask=c < C, other=0.0)
            total += values.to(tl.float32) * w[None, :]
    if ADDS:
        total += tl.load(bias + c, mask=c < C, other=0.0)[None, :]
    if SILU:
        total = total * tl.sigmoid(total)
    pixel = start + column
    tl.store(
        y + pixel[:, None] * y_stride + c[None, :], total.to(y.dtype.element_ty),
        mask=(column < W)[:, None] & wide,
    )  # fmt: skip


@triton.jit
def moments(
    x, means, squares, L, C, x_stride, chunks, tiles,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0) // chunks
    chunk = tl.program_id(0) % chunks
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mean = tl.zeros((BLOCK,), dtype=tl.float32)
    square = tl.zeros((BLOCK,), dtype=tl.float32)
    for tile in range(tiles):
        row = (chunk * tiles + tile) * ROWS + tl.arange(0, ROWS)
        there = (row < L)[:, None] & (c < C)[None, :]
        at = image.to(tl.int64) * L + row
        values = tl.load(x + at[:, None] * x_stride + c[None, :], mask=there, other=0.0)
        values = values.to(tl.float32)
        count = tl.maximum(tl.minimum(L - (chunk * tiles + tile) * ROWS, ROWS), 0).to(tl.float32)
        before = tile * ROWS * 1.0  # tiles before one with rows are full
        after = tl.maximum(before + count, 1.0)
        tile_mean = tl.sum(values, 0) / tl.maximum(count, 1.0)
        centred = tl.where(there, values - tile_mean[None, :], 0.0)
        apart = tile_mean - mean
        square += tl.sum(centred * centred, 0) + apart * apart * (before * count / after)
        mean += apart * (count / after)
    to = (image.to(tl.int64) * chunks + chunk) * C + c
    tl.store(means + to, mean, mask=c < C)
    tl.store(squares + to, square, mask=c < C)


@triton.jit
def instance_norm(
    x, means, squares, y, L, C, x_stride, y_stride, chunks, tiles, eps,
    CHUNKS: tl.constexpr, ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0) // chunks
    chunk = tl.program_id(0) % chunks
    c = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    part = tl.arange(0, CHUNKS)
    valid = (part < chunks)[:, None] & (c < C)[None, :]
    at = (image.to(tl.int64) * chunks + part)[:, None] * C + c[None, :]
    part_means = tl.load(means + at, mask=valid, other=0.0)
    part_squares = tl.load(squares + at, mask=valid, other=0.0)
    count = tl.maximum(tl.minimum(L - part * tiles * ROWS, tiles * ROWS), 0).to(tl.float32)
    mean = tl.sum(part_means * count[:, None], 0) / L
    apart = tl.where(valid, part_means - mean[None, :], 0.0)
    variance = tl.sum(part_squares + apart * apart * count[:, None], 0) / L
    scale = 1.0 / tl.sqrt(variance + eps)
    for tile in range(tiles):
        row = (chunk * tiles + tile) * ROWS + tl.arange(0, ROWS)
        there = (row < L)[:, None] & (c < C)[None, :]
        at_row = image.to(tl.int64) * L + row
        values = tl.load(x + at_row[:, None] * x_stride + c[None, :], mask=there, other=0.0)
        out = tl.where(there, (values.to(tl.float32) - mean[None, :]) * scale[None, :], 0.0)
        out = out * tl.sigmoid(out)
        tl.store(
            y + at_row[:, None] * y_stride + c[None, :], out.to(y.dtype.element_ty), mask=there
        )


@triton.jit
def distance(t, s, y, rows, C, t_stride, s_stride, eps, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    r = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, BLOCK)
    there = (r < rows)[:, None] & (c < C)[None, :]
    far = r.to(tl.int64)[:, None]
    a = tl.load(t + far * t_stride + c[None, :], mask=there, other=0.0).to(tl.float32)
    b = tl.load(s + far * s_stride + c[None, :], mask=there, other=0.0).to(tl.float32)
    lengths = tl.maximum(tl.sqrt(tl.sum(a * a, 1)), eps) * tl.maximum(
        tl.sqrt(tl.sum(b * b, 1)), eps
    )
    tl.store(y + r, 1.0 - tl.sum(a * b, 1) / lengths, mask=r < rows)
