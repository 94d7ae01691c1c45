/* A video device without hardware: loaded before libc (LD_PRELOAD), it answers the calls of V4L2 on
   /dev/video63. Every FAKE_V4L2_PERIOD_US since FAKE_V4L2_START_US (monotonic) the device takes a
   frame, which carries its number in 16 blocks of pixels. It has as many buffers as it was asked for,
   and takes nothing while all of them are full, as drivers do. FAKE_V4L2_CLOCK is `monotonic`, or
   `none` for a driver that does not stamp its frames. While the file FAKE_V4L2_UNPLUGGED is there,
   the device is not. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/videodev2.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH = 256, HEIGHT = 32, BLOCK = 16, BYTES = WIDTH * HEIGHT * 3, MOST = 8, STEP = 1 << 20 };

static int device = -1, is_streaming, exposure = 100, is_manual;
static unsigned count, queued[MOST], queued_count, full[MOST], full_count;
static long long number_in[MOST], next_number, stamp_us[MOST];
static unsigned char *memory[MOST];

static long long setting(const char *name) { const char *text = getenv(name); return text ? atoll(text) : 0; }

static long long now_us(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000LL + now.tv_nsec / 1000;
}

static void paint(unsigned char *pixels, long long number) {
    for (int y = 0; y < HEIGHT; y++)
        for (int x = 0; x < WIDTH; x++)
            memset(pixels + 3 * (y * WIDTH + x), number >> (x / BLOCK) & 1 ? 220 : 40, 3);
}

/* Take the frames that are due. */
static void take(void) {
    long long start = setting("FAKE_V4L2_START_US"), period = setting("FAKE_V4L2_PERIOD_US");
    long long due = (now_us() - start) / period;
    for (; next_number <= due; next_number++) {
        if (!is_streaming || !queued_count) continue;
        unsigned index = queued[0];
        memmove(queued, queued + 1, --queued_count * sizeof *queued);
        number_in[index] = next_number;
        stamp_us[index] = start + next_number * period;
        paint(memory[index], next_number);
        full[full_count++] = index;
    }
}

static int is_unplugged(void) { return access(getenv("FAKE_V4L2_UNPLUGGED"), F_OK) == 0; }

static int refuse(int reason) { errno = reason; return -1; }

static int answer(unsigned long request, void *data) {
    struct v4l2_capability *able = data;
    struct v4l2_format *format = data;
    struct v4l2_requestbuffers *wish = data;
    struct v4l2_buffer *buffer = data;
    struct v4l2_control *control = data;
    struct v4l2_queryctrl *query = data;
    uint64_t ticks;
    if (is_unplugged()) return refuse(ENODEV);
    switch (request) {
    case VIDIOC_QUERYCAP:
        memset(able, 0, sizeof *able);
        strcpy((char *)able->driver, "fake");
        able->capabilities = V4L2_CAP_VIDEO_CAPTURE | V4L2_CAP_STREAMING;
        return 0;
    case VIDIOC_G_FMT: case VIDIOC_S_FMT: case VIDIOC_TRY_FMT:
        format->fmt.pix = (struct v4l2_pix_format){.width = WIDTH, .height = HEIGHT,
            .pixelformat = V4L2_PIX_FMT_BGR24, .field = V4L2_FIELD_NONE,
            .bytesperline = 3 * WIDTH, .sizeimage = BYTES};
        return 0;
    case VIDIOC_REQBUFS:
        if (wish->count > MOST) wish->count = MOST;
        count = wish->count;
        queued_count = full_count = 0;
        return 0;
    case VIDIOC_QUERYBUF:
        buffer->length = BYTES;
        buffer->m.offset = buffer->index * STEP;
        return 0;
    case VIDIOC_QBUF:
        queued[queued_count++] = buffer->index;
        return 0;
    case VIDIOC_DQBUF:
        take();
        if (!full_count) { if (read(device, &ticks, sizeof ticks)) {} return refuse(EAGAIN); }
        buffer->index = full[0];
        memmove(full, full + 1, --full_count * sizeof *full);
        if (!full_count && read(device, &ticks, sizeof ticks)) {}
        buffer->bytesused = buffer->length = BYTES;
        buffer->sequence = number_in[buffer->index];
        buffer->flags = V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC;
        int is_stamped = strcmp(getenv("FAKE_V4L2_CLOCK"), "none");
        buffer->timestamp.tv_sec = is_stamped ? stamp_us[buffer->index] / 1000000 : 0;
        buffer->timestamp.tv_usec = is_stamped ? stamp_us[buffer->index] % 1000000 : 0;
        return 0;
    case VIDIOC_STREAMON: take(); is_streaming = 1; return 0;
    case VIDIOC_STREAMOFF: is_streaming = 0; queued_count = full_count = 0; return 0;
    case VIDIOC_QUERYCTRL:
        if (query->id != V4L2_CID_EXPOSURE_ABSOLUTE && query->id != V4L2_CID_EXPOSURE_AUTO)
            return refuse(EINVAL);
        query->minimum = 0; query->maximum = 10000; query->step = 1; query->flags = 0;
        return 0;
    case VIDIOC_S_CTRL:
        if (control->id == V4L2_CID_EXPOSURE_AUTO) is_manual = control->value == V4L2_EXPOSURE_MANUAL;
        else if (control->id == V4L2_CID_EXPOSURE_ABSOLUTE && is_manual) exposure = control->value;
        else return refuse(EINVAL);
        return 0;
    case VIDIOC_G_CTRL:
        if (control->id == V4L2_CID_EXPOSURE_AUTO) control->value = is_manual ? V4L2_EXPOSURE_MANUAL : 3;
        else if (control->id == V4L2_CID_EXPOSURE_ABSOLUTE) control->value = exposure;
        else return refuse(EINVAL);
        return 0;
    }
    return refuse(EINVAL);
}

static int open_device(void) {
    if (is_unplugged()) return refuse(ENODEV);
    long long period = setting("FAKE_V4L2_PERIOD_US");
    struct timespec pause = {period / 1000000, period % 1000000 * 1000};
    device = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    timerfd_settime(device, 0, &(struct itimerspec){pause, pause}, NULL);
    return device;
}

#define REAL(type, name, ...) static type (*real)(__VA_ARGS__); if (!real) *(void **)&real = dlsym(RTLD_NEXT, name)
#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        REAL(int, #name, const char *, int, ...); \
        va_list rest; va_start(rest, flags); \
        int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0; va_end(rest); \
        return !strcmp(path, "/dev/video63") ? open_device() : real(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

int close(int file) {
    REAL(int, "close", int);
    if (file == device && file >= 0) device = -1, is_streaming = 0;
    return real(file);
}

int ioctl(int file, unsigned long request, ...) {
    REAL(int, "ioctl", int, unsigned long, ...);
    va_list rest; va_start(rest, request); void *data = va_arg(rest, void *); va_end(rest);
    return file == device && file >= 0 ? answer(request & 0xffffffff, data) : real(file, request, data);
}

#define MAP(name, kind) \
    void *name(void *at, size_t size, int access, int flags, int file, kind offset) { \
        REAL(void *, #name, void *, size_t, int, int, int, kind); \
        if (file != device || file < 0) return real(at, size, access, flags, file, offset); \
        unsigned index = offset / STEP; \
        if (!memory[index]) memory[index] = malloc(BYTES); \
        return memory[index]; \
    }
MAP(mmap, off_t)
MAP(mmap64, off64_t)

int munmap(void *at, size_t size) {
    REAL(int, "munmap", void *, size_t);
    for (int index = 0; index < MOST; index++) if (at && at == memory[index]) return 0;
    return real(at, size);
}
