/* The viewers of the benchmarks: thousands of SSE connections, held and counted by one thread.
 *
 * Driven by viewers.py over standard input and output, a line a command and a line an answer, and
 * ends when standard input does. Words are separated by one space; times are in milliseconds.
 *
 *   NUMBER open GROUP PORT RECEIVE_BUFFER AT_ONCE WITHIN FIRST AGAIN RUN...
 *                                   a viewer per RUN; FIRST and AGAIN are requests in hexadecimal;
 *                                   RECEIVE_BUFFER is in bytes, 0 leaves it to the kernel
 *   NUMBER reopen GROUP AT_ONCE WITHIN      connects those that are not connected
 *   NUMBER until GROUP LAST WITHIN          waits until every viewer has seen event number LAST
 *   NUMBER stall|drop|reset|report GROUP
 *   NUMBER cost
 *
 *   NUMBER ok [JSON] | NUMBER timeout TEXT | NUMBER failed TEXT
 *
 * Answers to open, reopen and until come when it is so, and other commands may come before that.
 * In JSON, times are CLOCK_MONOTONIC nanoseconds, and 0 for never.
 *
 * A viewer counts an event, and takes over the event's id as its cursor, at the blank line that
 * ends the event's block, as browsers do: what a cut leaves half sent was not seen. Lines end in
 * LF or CRLF; the lone CR that the standard also allows is not understood.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_SIZE ((size_t)256 * 1024)
#define LONGEST_HEAD ((size_t)64 * 1024)
/* Connections come from 127.0.0.1 to 127.0.0.250: one address alone has 28,000 ports. */
#define SOURCE_ADDRESSES 250
#define NANOSECONDS_A_SECOND INT64_C(1000000000)
#define NANOSECONDS_A_MILLISECOND INT64_C(1000000)

/* ---- Memory and time ------------------------------------------------------------------------ */

struct bytes {
    char *data;
    size_t length;
    size_t room;
};

/* Ends the program if a call has failed that can only fail by a mistake in it. */
static void must(bool done, const char *what)
{
    if (!done) {
        perror(what);
        exit(EXIT_FAILURE);
    }
}

static void reserve(struct bytes *bytes, size_t room)
{
    if (bytes->room >= room)
        return;
    if (room < 2 * bytes->room)
        room = 2 * bytes->room;
    bytes->data = realloc(bytes->data, room);
    must(bytes->data != NULL, "realloc");
    bytes->room = room;
}

static void append(struct bytes *bytes, const char *data, size_t length)
{
    if (length == 0)
        return;
    reserve(bytes, bytes->length + length);
    memcpy(bytes->data + bytes->length, data, length);
    bytes->length += length;
}

static void replace(struct bytes *bytes, const char *data, size_t length)
{
    bytes->length = 0;
    append(bytes, data, length);
}

static void append_format(struct bytes *bytes, const char *format, va_list arguments)
{
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    must(length >= 0, "vsnprintf");
    reserve(bytes, bytes->length + (size_t)length + 1);
    vsnprintf(bytes->data + bytes->length, (size_t)length + 1, format, arguments);
    bytes->length += (size_t)length;
}

__attribute__((format(printf, 2, 3))) static void print(struct bytes *bytes, const char *format,
                                                        ...)
{
    va_list arguments;
    va_start(arguments, format);
    append_format(bytes, format, arguments);
    va_end(arguments);
}

static bool begins_with(const char *at, const char *end, const char *prefix)
{
    size_t length = strlen(prefix);
    return (size_t)(end - at) >= length && memcmp(at, prefix, length) == 0;
}

static int64_t nanoseconds(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * NANOSECONDS_A_SECOND + time.tv_nsec;
}

/* ---- Histograms ----------------------------------------------------------------------------- */

/* Of nanoseconds. Below 128 each value has a bucket; above, each power of two has 64 equal ones,
 * so none is wider than 1.6 % of its values. viewers.py computes the same edges. */
#define BUCKET_BITS 6
#define LONGEST_VALUE ((UINT64_C(1) << 44) - 1)
#define BUCKETS (((44 - BUCKET_BITS - 1) << BUCKET_BITS) + (2 << BUCKET_BITS))

struct histogram {
    uint64_t counts[BUCKETS];
    int64_t longest;
};

static void record(struct histogram *histogram, int64_t duration)
{
    if (duration < 0)
        duration = 0;
    if (duration > histogram->longest)
        histogram->longest = duration;
    uint64_t value = (uint64_t)duration < LONGEST_VALUE ? (uint64_t)duration : LONGEST_VALUE;
    int shift = 63 - BUCKET_BITS - __builtin_clzll(value | ((2 << BUCKET_BITS) - 1));
    histogram->counts[((size_t)shift << BUCKET_BITS) + (value >> shift)]++;
}

static void print_histogram(struct bytes *to, const struct histogram *histogram)
{
    print(to, "{\"longest\":%" PRId64 ",\"counts\":[", histogram->longest);
    const char *separator = "";
    for (size_t bucket = 0; bucket < BUCKETS; bucket++) {
        if (histogram->counts[bucket] == 0)
            continue;
        print(to, "%s[%zu,%" PRIu64 "]", separator, bucket, histogram->counts[bucket]);
        separator = ",";
    }
    print(to, "]}");
}

/* ---- Viewers and their groups --------------------------------------------------------------- */

/*   CLOSED --start_viewer--> CONNECTING --connected--> HEAD --take_head--> BODY --stall--> STALLED
 *   and from each back to CLOSED by close_viewer. */
enum viewer_state { CLOSED, CONNECTING, HEAD, BODY, STALLED };

enum chunk_state { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_DATA_END, CHUNKS_OVER };

struct chunks {
    enum chunk_state state;
    bool has_digits;
    uint64_t left;
};

struct viewer {
    struct group *group;
    const char *run;
    int socket;
    enum viewer_state state;
    bool is_chunked;
    struct chunks chunks;
    /* What the next read goes on from: the head so far, or a block that has not ended yet. */
    struct bytes carry;
    struct bytes cursor;
    /* One more than the highest number seen; -1 before the first, which may be any. */
    int64_t expected;
};

/* One command that waits; `command` is 0 when none does. */
struct opening {
    long command;
    int64_t deadline;
    size_t at_once;
    size_t in_progress;
    size_t next;
};

struct waiting {
    long command;
    int64_t deadline;
    int64_t last;
    size_t missing;
};

struct counters {
    uint64_t events;
    uint64_t bytes;
    uint64_t lost;
    uint64_t doubled;
    uint64_t errors;
    int64_t first_at;
    int64_t last_at;
    int64_t reached_at;
    struct histogram latency;
};

struct group {
    struct group *next;
    char *name;
    char *runs;
    struct viewer *viewers;
    size_t size;
    uint16_t port;
    int receive_buffer;
    struct bytes first;
    struct bytes again;
    struct opening opening;
    struct waiting waiting;
    struct counters counters;
};

struct event {
    int64_t number;
    int64_t published_at;
};

static int epoll;
static struct group *groups;
static size_t all_viewers;
/* What was just read, behind what was carried over; shared, for only one viewer reads at a time. */
static struct bytes input;
/* The events of the block that is being read. */
static struct event *block_events;
static size_t block_length;
static size_t block_room;
static struct histogram turns;

static const struct viewer *end_of(const struct group *group)
{
    return group->viewers + group->size;
}

/* ---- Answers -------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static void answer(long command, const char *format, ...)
{
    static struct bytes line;
    line.length = 0;
    print(&line, "%ld ", command);
    va_list arguments;
    va_start(arguments, format);
    append_format(&line, format, arguments);
    va_end(arguments);
    append(&line, "\n", 1);
    for (size_t sent = 0; sent < line.length;) {
        ssize_t more = write(STDOUT_FILENO, line.data + sent, line.length - sent);
        must(more >= 0 || errno == EINTR, "write an answer");
        sent += more > 0 ? (size_t)more : 0;
    }
}

/* ---- Opening -------------------------------------------------------------------------------- */

static void close_viewer(struct viewer *viewer)
{
    close(viewer->socket);
    viewer->state = CLOSED;
    viewer->carry.length = 0;
}

/* Gives up what has no answer yet, and keeps what is open. The caller answers the command. */
static void end_opening(struct group *group)
{
    for (struct viewer *viewer = group->viewers; viewer < end_of(group); viewer++)
        if (viewer->state == CONNECTING || viewer->state == HEAD)
            close_viewer(viewer);
    group->opening = (struct opening){0};
}

static void fail_opening(const struct viewer *viewer, const char *what, const char *why)
{
    struct group *group = viewer->group;
    answer(group->opening.command, "failed viewer %zu of %zu in %s (run %s): %s: %s",
           (size_t)(viewer - group->viewers) + 1, group->size, group->name, viewer->run, what,
           why);
    end_opening(group);
}

/* Begins a connection that epoll reports when it is made. False: it has failed, and been told. */
static bool start_viewer(struct viewer *viewer)
{
    static uint32_t connections;
    struct group *group = viewer->group;
    viewer->socket = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (viewer->socket < 0) {
        fail_opening(viewer, "socket", strerror(errno));
        return false;
    }
    viewer->state = CONNECTING;
    viewer->is_chunked = false;
    viewer->chunks = (struct chunks){0};

    const struct linger reset = {.l_onoff = 1, .l_linger = 0};
    must(setsockopt(viewer->socket, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) == 0, "linger");
    /* The port is then chosen when connecting, and may serve towards several servers. */
    const int yes = 1;
    must(setsockopt(viewer->socket, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes) == 0,
         "IP_BIND_ADDRESS_NO_PORT");
    if (group->receive_buffer > 0)
        must(setsockopt(viewer->socket, SOL_SOCKET, SO_RCVBUF, &group->receive_buffer,
                        sizeof group->receive_buffer) == 0,
             "SO_RCVBUF");
    const struct sockaddr_in source = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK + connections++ % SOURCE_ADDRESSES),
    };
    const struct sockaddr_in server = {
        .sin_family = AF_INET,
        .sin_port = htons(group->port),
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    if (bind(viewer->socket, (const struct sockaddr *)&source, sizeof source) != 0) {
        fail_opening(viewer, "bind", strerror(errno));
        return false;
    }
    if (connect(viewer->socket, (const struct sockaddr *)&server, sizeof server) != 0 &&
        errno != EINPROGRESS) {
        fail_opening(viewer, "connect", strerror(errno));
        return false;
    }
    struct epoll_event interest = {.events = EPOLLOUT, .data.ptr = viewer};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, viewer->socket, &interest) == 0, "epoll_ctl");
    return true;
}

/* Begins as many connections as may be in progress, and answers when all have been made. */
static void go_on_opening(struct group *group)
{
    struct opening *opening = &group->opening;
    while (opening->in_progress < opening->at_once && opening->next < group->size) {
        struct viewer *viewer = &group->viewers[opening->next++];
        if (viewer->state != CLOSED)
            continue;
        if (!start_viewer(viewer))
            return;
        opening->in_progress++;
    }
    if (opening->in_progress == 0) {
        answer(opening->command, "ok");
        *opening = (struct opening){0};
    }
}

/* The group's request for this viewer; valid until the next call. One that has no cursor yet asks
 * as if for the first time, as a browser would. */
static const struct bytes *request_of(const struct viewer *viewer)
{
    static const char run[] = "{run}";
    static const char cursor[] = "{cursor}";
    static struct bytes request;
    const struct group *group = viewer->group;
    const struct bytes *template = viewer->cursor.length > 0 ? &group->again : &group->first;
    const char *end = template->data + template->length;
    request.length = 0;
    for (const char *at = template->data; at < end;) {
        if (begins_with(at, end, run)) {
            append(&request, viewer->run, strlen(viewer->run));
            at += strlen(run);
        } else if (begins_with(at, end, cursor)) {
            append(&request, viewer->cursor.data, viewer->cursor.length);
            at += strlen(cursor);
        } else {
            append(&request, at++, 1);
        }
    }
    return &request;
}

static void connected(struct viewer *viewer)
{
    int problem = 0;
    socklen_t size = sizeof problem;
    must(getsockopt(viewer->socket, SOL_SOCKET, SO_ERROR, &problem, &size) == 0, "SO_ERROR");
    if (problem != 0) {
        fail_opening(viewer, "connect", strerror(problem));
        return;
    }
    const struct bytes *request = request_of(viewer);
    ssize_t sent = send(viewer->socket, request->data, request->length, MSG_NOSIGNAL);
    if (sent != (ssize_t)request->length) {
        fail_opening(viewer, "send", sent < 0 ? strerror(errno) : "the request is too long");
        return;
    }
    viewer->state = HEAD;
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = viewer};
    must(epoll_ctl(epoll, EPOLL_CTL_MOD, viewer->socket, &interest) == 0, "epoll_ctl");
}

/* The connection has gone without our doing. */
static void lose_viewer(struct viewer *viewer, const char *why)
{
    if (viewer->state == HEAD) {
        fail_opening(viewer, "waiting for the answer", why);
        return;
    }
    viewer->group->counters.errors++;
    close_viewer(viewer);
}

/* ---- HTTP ----------------------------------------------------------------------------------- */

/* Takes a whole response head, without its last line's end. False: the viewer is not open now. */
static bool take_head(struct viewer *viewer, const char *head, size_t length)
{
    static const char coding[] = "transfer-encoding:";
    const char *end = head + length;
    const char *line_end = memmem(head, length, "\r\n", 2);
    const char *status_end = line_end == NULL ? end : line_end;
    const char *code = memchr(head, ' ', (size_t)(status_end - head));
    if (code == NULL || !begins_with(head, end, "HTTP/1.") || !begins_with(code, end, " 200")) {
        static struct bytes status;
        replace(&status, head, (size_t)(status_end - head));
        append(&status, "", 1);
        fail_opening(viewer, "answered", status.data);
        return false;
    }
    while (line_end != NULL) {
        const char *line = line_end + 2;
        line_end = memmem(line, (size_t)(end - line), "\r\n", 2);
        size_t line_length = (size_t)((line_end == NULL ? end : line_end) - line);
        if (line_length >= strlen(coding) && strncasecmp(line, coding, strlen(coding)) == 0)
            viewer->is_chunked = memmem(line, line_length, "chunked", 7) != NULL;
    }
    viewer->state = BODY;
    viewer->group->opening.in_progress--;
    go_on_opening(viewer->group);
    return true;
}

static int hexadecimal(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit |= 0x20;
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Takes the framing of the chunked coding out of what was read, in place. Returns the length of
 * what remains, or -1 where the framing is wrong. */
static ssize_t take_chunks(struct chunks *chunks, char *data, size_t length)
{
    char *to = data;
    const char *end = data + length;
    for (const char *at = data; at < end;) {
        if (chunks->state == CHUNK_DATA) {
            size_t part = (size_t)(end - at);
            if (part > chunks->left)
                part = chunks->left;
            memmove(to, at, part);
            to += part;
            at += part;
            chunks->left -= part;
            if (chunks->left == 0)
                *chunks = (struct chunks){.state = CHUNK_DATA_END};
            continue;
        }
        if (chunks->state == CHUNKS_OVER)
            break; /* Trailers say nothing to a viewer. */
        char byte = *at++;
        int digit = hexadecimal(byte);
        if (chunks->state == CHUNK_DATA_END && byte == '\n') {
            chunks->state = CHUNK_SIZE;
        } else if (chunks->state == CHUNK_DATA_END) {
            if (byte != '\r')
                return -1;
        } else if (byte == '\n') {
            if (!chunks->has_digits)
                return -1;
            chunks->state = chunks->left == 0 ? CHUNKS_OVER : CHUNK_DATA;
        } else if (chunks->state == CHUNK_SIZE && digit >= 0 && chunks->left >> 56 == 0) {
            chunks->left = chunks->left << 4 | (uint64_t)digit;
            chunks->has_digits = true;
        } else {
            chunks->state = CHUNK_EXTENSION;
        }
    }
    return to - data;
}

/* ---- Events --------------------------------------------------------------------------------- */

static const char *digits(const char *at, const char *end, int64_t *value)
{
    const char *begin = at;
    uint64_t sum = 0;
    while (at < end && *at >= '0' && *at <= '9')
        sum = sum * 10 + (uint64_t)(*at++ - '0');
    *value = (int64_t)sum;
    return at == begin ? NULL : at;
}

/* Reads `n":NUMBER,"t":NUMBER`. Returns where it ends, or NULL where something else stands. */
static const char *parse_event(const char *at, const char *end, struct event *event)
{
    static const char number[] = "n\":";
    static const char time[] = ",\"t\":";
    if (!begins_with(at, end, number))
        return NULL;
    at = digits(at + strlen(number), end, &event->number);
    if (at == NULL || !begins_with(at, end, time))
        return NULL;
    return digits(at + strlen(time), end, &event->published_at);
}

/* Adds the events of a data line to the block's, wherever in its JSON they stand. */
static void find_events(const char *at, const char *end)
{
    /* There are few quotes in an event, and memchr passes by its long padding quickest. */
    while ((at = memchr(at, '"', (size_t)(end - at))) != NULL) {
        at++;
        struct event event;
        const char *after = parse_event(at, end, &event);
        if (after == NULL)
            continue;
        if (block_length == block_room) {
            block_room = block_room == 0 ? 64 : 2 * block_room;
            block_events = realloc(block_events, block_room * sizeof *block_events);
            must(block_events != NULL, "realloc");
        }
        block_events[block_length++] = event;
        at = after;
    }
}

static void reach(struct group *group, int64_t now)
{
    group->counters.reached_at = now;
    answer(group->waiting.command, "ok");
    group->waiting.command = 0;
}

static void take_event(struct viewer *viewer, const struct event *event, int64_t now)
{
    struct group *group = viewer->group;
    struct counters *counters = &group->counters;
    struct waiting *waiting = &group->waiting;
    counters->events++;
    counters->last_at = now;
    if (counters->first_at == 0)
        counters->first_at = now;
    if (event->number < viewer->expected) {
        counters->doubled++;
        return;
    }
    if (viewer->expected >= 0)
        counters->lost += (uint64_t)(event->number - viewer->expected);
    record(&counters->latency, now - event->published_at);
    bool was_missing = viewer->expected <= waiting->last;
    viewer->expected = event->number + 1;
    if (waiting->command != 0 && was_missing && event->number >= waiting->last &&
        --waiting->missing == 0)
        reach(group, now);
}

/* Takes the blocks that are whole. Returns the length of what they are, and leaves the rest. */
static size_t take_blocks(struct viewer *viewer, const char *data, size_t length, int64_t now)
{
    static const char data_field[] = "data:";
    static const char id_field[] = "id:";
    const char *end = data + length;
    const char *rest = data;
    const char *cursor = NULL;
    const char *cursor_end = NULL;
    const char *id = NULL;
    const char *id_end = NULL;
    const char *feed;
    block_length = 0;
    for (const char *line = data; (feed = memchr(line, '\n', (size_t)(end - line))) != NULL;
         line = feed + 1) {
        const char *line_end = feed > line && feed[-1] == '\r' ? feed - 1 : feed;
        if (line == line_end) {
            for (size_t index = 0; index < block_length; index++)
                take_event(viewer, &block_events[index], now);
            block_length = 0;
            if (id != NULL) {
                cursor = id;
                cursor_end = id_end;
                id = NULL;
            }
            rest = feed + 1;
        } else if (begins_with(line, line_end, data_field)) {
            find_events(line + strlen(data_field), line_end);
        } else if (begins_with(line, line_end, id_field)) {
            id = line + strlen(id_field);
            id_end = line_end;
            if (id < id_end && *id == ' ')
                id++;
        }
    }
    if (cursor != NULL)
        replace(&viewer->cursor, cursor, (size_t)(cursor_end - cursor));
    return (size_t)(rest - data);
}

/* ---- Reading -------------------------------------------------------------------------------- */

/* Takes more of the response; `carried` bytes of the input come from earlier reads. */
static void take_input(struct viewer *viewer, size_t carried, int64_t now)
{
    char *data = input.data;
    char *fresh = input.data + carried;
    const char *end = input.data + input.length;
    if (viewer->state == HEAD) {
        static const char blank[] = "\r\n\r\n";
        char *head_end = memmem(data, input.length, blank, strlen(blank));
        if (head_end == NULL && input.length > LONGEST_HEAD) {
            lose_viewer(viewer, "its head is too long");
            return;
        }
        if (head_end == NULL) {
            replace(&viewer->carry, data, input.length);
            return;
        }
        if (!take_head(viewer, data, (size_t)(head_end - data)))
            return;
        data = fresh = head_end + strlen(blank);
    }
    size_t length = (size_t)(end - fresh);
    if (viewer->is_chunked) {
        ssize_t content = take_chunks(&viewer->chunks, fresh, length);
        if (content < 0) {
            lose_viewer(viewer, "wrong chunked coding");
            return;
        }
        length = (size_t)content;
    }
    length += (size_t)(fresh - data);
    size_t taken = take_blocks(viewer, data, length, now);
    replace(&viewer->carry, data + taken, length - taken);
    if (viewer->chunks.state == CHUNKS_OVER)
        lose_viewer(viewer, "the answer has ended");
}

static void receive(struct viewer *viewer)
{
    replace(&input, viewer->carry.data, viewer->carry.length);
    reserve(&input, input.length + READ_SIZE);
    ssize_t more = recv(viewer->socket, input.data + input.length, READ_SIZE, 0);
    int64_t now = nanoseconds(CLOCK_MONOTONIC);
    if (more > 0) {
        size_t carried = input.length;
        input.length += (size_t)more;
        viewer->group->counters.bytes += (uint64_t)more;
        take_input(viewer, carried, now);
    } else if (more == 0) {
        lose_viewer(viewer, "the server closed the connection");
    } else if (errno != EAGAIN && errno != EINTR) {
        lose_viewer(viewer, strerror(errno));
    }
}

static void act_on(struct viewer *viewer)
{
    switch (viewer->state) {
    case CLOSED:
        break; /* By another viewer's failure, earlier in this turn. */
    case CONNECTING:
        connected(viewer);
        break;
    case HEAD:
    case BODY:
        receive(viewer);
        break;
    case STALLED:
        lose_viewer(viewer, "the server closed the connection");
        break;
    }
}

/* ---- Commands ------------------------------------------------------------------------------- */

static char *next_word(char **rest)
{
    char *word = strsep(rest, " ");
    must(word != NULL, "a command lacks a word");
    return word;
}

static int64_t next_number(char **rest)
{
    return strtoll(next_word(rest), NULL, 10);
}

static int64_t next_deadline(char **rest)
{
    return nanoseconds(CLOCK_MONOTONIC) + next_number(rest) * NANOSECONDS_A_MILLISECOND;
}

static struct bytes next_hexadecimal(char **rest)
{
    struct bytes bytes = {0};
    for (const char *digit = next_word(rest); digit[0] != '\0' && digit[1] != '\0'; digit += 2) {
        char byte = (char)(hexadecimal(digit[0]) << 4 | hexadecimal(digit[1]));
        append(&bytes, &byte, 1);
    }
    return bytes;
}

static struct group *group_named(const char *name)
{
    struct group *group = groups;
    while (group != NULL && strcmp(group->name, name) != 0)
        group = group->next;
    return group;
}

static void start_opening(struct group *group, long command, size_t at_once, int64_t deadline)
{
    if (group->opening.command != 0) {
        answer(command, "failed %s is being opened already", group->name);
        return;
    }
    group->opening =
        (struct opening){.command = command, .deadline = deadline, .at_once = at_once};
    go_on_opening(group);
}

static void open_group(long command, const char *name, char *rest)
{
    if (group_named(name) != NULL) {
        answer(command, "failed there is a group %s already", name);
        return;
    }
    struct group *group = calloc(1, sizeof *group);
    must(group != NULL, "calloc");
    group->port = (uint16_t)next_number(&rest);
    group->receive_buffer = (int)next_number(&rest);
    size_t at_once = (size_t)next_number(&rest);
    int64_t deadline = next_deadline(&rest);
    group->first = next_hexadecimal(&rest);
    group->again = next_hexadecimal(&rest);
    group->name = strdup(name);
    group->runs = strdup(rest);
    must(group->name != NULL && group->runs != NULL, "strdup");
    group->size = 1;
    for (const char *at = group->runs; (at = strchr(at, ' ')) != NULL; at++)
        group->size++;
    group->viewers = calloc(group->size, sizeof *group->viewers);
    must(group->viewers != NULL, "calloc");
    rest = group->runs;
    for (struct viewer *viewer = group->viewers; viewer < end_of(group); viewer++)
        *viewer = (struct viewer){.group = group, .run = next_word(&rest), .expected = -1};
    all_viewers += group->size;
    group->next = groups;
    groups = group;
    start_opening(group, command, at_once, deadline);
}

static void reopen_group(struct group *group, long command, char *rest)
{
    size_t at_once = (size_t)next_number(&rest);
    start_opening(group, command, at_once, next_deadline(&rest));
}

static void wait_until(struct group *group, long command, char *rest)
{
    struct waiting *waiting = &group->waiting;
    if (waiting->command != 0)
        answer(waiting->command, "failed another wait took the place of this one");
    *waiting = (struct waiting){.command = command, .last = next_number(&rest)};
    waiting->deadline = next_deadline(&rest);
    for (const struct viewer *viewer = group->viewers; viewer < end_of(group); viewer++)
        waiting->missing += viewer->expected <= waiting->last;
    if (waiting->missing == 0)
        reach(group, group->counters.last_at);
}

static void stall_group(struct group *group)
{
    for (struct viewer *viewer = group->viewers; viewer < end_of(group); viewer++) {
        if (viewer->state != BODY)
            continue;
        /* Without EPOLLIN, only the end is reported: a reset, or a close that nothing unread
         * stands before. */
        struct epoll_event interest = {.events = EPOLLRDHUP, .data.ptr = viewer};
        must(epoll_ctl(epoll, EPOLL_CTL_MOD, viewer->socket, &interest) == 0, "epoll_ctl");
        viewer->state = STALLED;
    }
}

static void drop_group(struct group *group)
{
    if (group->opening.command != 0) {
        answer(group->opening.command, "failed %s was dropped", group->name);
        end_opening(group);
    }
    for (struct viewer *viewer = group->viewers; viewer < end_of(group); viewer++)
        if (viewer->state != CLOSED)
            close_viewer(viewer);
}

static size_t open_viewers(const struct group *group)
{
    size_t open = 0;
    for (const struct viewer *viewer = group->viewers; viewer < end_of(group); viewer++)
        open += viewer->state == BODY || viewer->state == STALLED;
    return open;
}

static void report_group(const struct group *group, long command)
{
    const struct counters *counters = &group->counters;
    struct bytes report = {0};
    print(&report, "{\"viewers\":%zu,\"open\":%zu", group->size, open_viewers(group));
    print(&report, ",\"events\":%" PRIu64 ",\"bytes\":%" PRIu64, counters->events,
          counters->bytes);
    print(&report, ",\"lost\":%" PRIu64 ",\"doubled\":%" PRIu64 ",\"errors\":%" PRIu64,
          counters->lost, counters->doubled, counters->errors);
    print(&report, ",\"first_at\":%" PRId64 ",\"last_at\":%" PRId64 ",\"reached_at\":%" PRId64,
          counters->first_at, counters->last_at, counters->reached_at);
    print(&report, ",\"latency\":");
    print_histogram(&report, &counters->latency);
    answer(command, "ok %s}", report.data);
    free(report.data);
}

static void report_cost(long command)
{
    struct bytes turn = {0};
    print_histogram(&turn, &turns);
    answer(command, "ok {\"cpu\":%" PRId64 ",\"turns\":%s}",
           nanoseconds(CLOCK_PROCESS_CPUTIME_ID), turn.data);
    free(turn.data);
}

static void obey(char *line)
{
    long command = (long)next_number(&line);
    const char *verb = next_word(&line);
    if (strcmp(verb, "cost") == 0) {
        report_cost(command);
        return;
    }
    const char *name = next_word(&line);
    if (strcmp(verb, "open") == 0) {
        open_group(command, name, line);
        return;
    }
    struct group *group = group_named(name);
    if (group == NULL) {
        answer(command, "failed there is no group %s", name);
    } else if (strcmp(verb, "reopen") == 0) {
        reopen_group(group, command, line);
    } else if (strcmp(verb, "until") == 0) {
        wait_until(group, command, line);
    } else if (strcmp(verb, "report") == 0) {
        report_group(group, command);
    } else {
        if (strcmp(verb, "stall") == 0)
            stall_group(group);
        else if (strcmp(verb, "drop") == 0)
            drop_group(group);
        else if (strcmp(verb, "reset") == 0)
            group->counters = (struct counters){0};
        else
            must(false, verb);
        answer(command, "ok");
    }
}

/* Reads commands and obeys those whose line is whole. False: there will be no more. */
static bool take_commands(void)
{
    static struct bytes commands;
    reserve(&commands, commands.length + READ_SIZE);
    ssize_t more = read(STDIN_FILENO, commands.data + commands.length, READ_SIZE);
    must(more >= 0 || errno == EINTR, "read a command");
    if (more <= 0)
        return more != 0;
    commands.length += (size_t)more;
    char *line = commands.data;
    char *end = commands.data + commands.length;
    for (char *feed; (feed = memchr(line, '\n', (size_t)(end - line))) != NULL; line = feed + 1) {
        *feed = '\0';
        obey(line);
    }
    commands.length = (size_t)(end - line);
    memmove(commands.data, line, commands.length);
    return true;
}

/* ---- Deadlines ------------------------------------------------------------------------------ */

static void opening_timed_out(struct group *group)
{
    size_t missing = group->opening.in_progress;
    for (size_t index = group->opening.next; index < group->size; index++)
        missing += group->viewers[index].state == CLOSED;
    answer(group->opening.command, "timeout %zu of the %zu viewers in %s have no answer yet",
           missing, group->size, group->name);
    end_opening(group);
}

static void waiting_timed_out(struct group *group)
{
    struct waiting *waiting = &group->waiting;
    size_t closed = 0;
    int64_t least = INT64_MAX;
    for (const struct viewer *viewer = group->viewers; viewer < end_of(group); viewer++) {
        closed += viewer->expected <= waiting->last && viewer->state == CLOSED;
        least = viewer->expected < least ? viewer->expected : least;
    }
    answer(waiting->command,
           "timeout %zu of the %zu viewers in %s have not seen event %" PRId64
           "; %zu of them are not connected; the last one waits for event %" PRId64,
           waiting->missing, group->size, group->name, waiting->last, closed,
           least < 0 ? 0 : least);
    waiting->command = 0;
}

/* Answers the commands whose time is over. Returns the milliseconds to the next, -1 for none. */
static int expire(void)
{
    int64_t now = nanoseconds(CLOCK_MONOTONIC);
    int64_t next = INT64_MAX;
    for (struct group *group = groups; group != NULL; group = group->next) {
        if (group->opening.command != 0 && group->opening.deadline <= now)
            opening_timed_out(group);
        if (group->waiting.command != 0 && group->waiting.deadline <= now)
            waiting_timed_out(group);
        if (group->opening.command != 0 && group->opening.deadline < next)
            next = group->opening.deadline;
        if (group->waiting.command != 0 && group->waiting.deadline < next)
            next = group->waiting.deadline;
    }
    return next == INT64_MAX ? -1 : (int)((next - now) / NANOSECONDS_A_MILLISECOND + 1);
}

/* ---- The loop ------------------------------------------------------------------------------- */

static void raise_file_limit(void)
{
    struct rlimit limit;
    must(getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
    limit.rlim_cur = limit.rlim_max;
    must(setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
}

int main(void)
{
    raise_file_limit();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    must(epoll >= 0, "epoll_create1");
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = NULL};
    must(epoll_ctl(epoll, EPOLL_CTL_ADD, STDIN_FILENO, &interest) == 0, "epoll_ctl");
    struct epoll_event *ready = NULL;
    size_t room = 0;
    for (;;) {
        int milliseconds = expire();
        /* Room for all, so that a turn serves whoever was ready when it began. */
        if (room < all_viewers + 1) {
            room = all_viewers + 1;
            ready = realloc(ready, room * sizeof *ready);
            must(ready != NULL, "realloc");
        }
        int count = epoll_wait(epoll, ready, (int)room, milliseconds);
        must(count >= 0 || errno == EINTR, "epoll_wait");
        int64_t began = nanoseconds(CLOCK_MONOTONIC);
        bool commanded = false;
        for (int index = 0; index < count; index++) {
            if (ready[index].data.ptr == NULL)
                commanded = true;
            else
                act_on(ready[index].data.ptr);
        }
        /* Commands come last: they may close a socket of this turn and open another for the same
         * viewer, which what epoll has reported is not about. */
        if (commanded && !take_commands())
            return EXIT_SUCCESS;
        if (count > 0)
            record(&turns, nanoseconds(CLOCK_MONOTONIC) - began);
    }
}
