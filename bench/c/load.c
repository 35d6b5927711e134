/* The load generators of the policy bench: each is one thread, so that a processor can be given to
 * each end, and says what it did as one JSON object on its last line of stdout.
 *
 *   load sink PORT                        count datagrams, one per call, until SIGTERM
 *   load blast ADDRESS PORT FLOWS SECONDS send datagrams, one per call, from FLOWS ports in turns
 *   load echo PORT PORTS                  send datagrams back until SIGTERM
 *   load trips ADDRESS PORT FLOWS SECONDS a datagram there and back, then the next, over FLOWS ports
 *   load serve PORT PORTS                 answer TCP requests until SIGTERM
 *   load connect ADDRESS PORT PORTS CONCURRENCY SECONDS
 *                                         connect, request, answer, close; CONCURRENCY at a time
 *   load fill ADDRESS PORT PORTS SOURCES SECONDS
 *                                         one datagram there and back from each of SOURCES ports to
 *                                         each of PORTS ports, for so long at most
 *   load watch ADDRESS PORT INTERVAL_US LOST_MS
 *                                         send all the time; say when answers begin and when they end
 *
 * Servers print a line once they listen. Messages have 64 bytes. Times are CLOCK_MONOTONIC, which
 * all processes of a machine share.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_BYTES 64
#define BUFFER_BYTES (8 << 20)
#define EVENTS 256
#define WINDOW 1024 /* datagrams on their way at once */
#define WINDOW_NS 100000000u
#define LOST_NS 200000000u
#define CONNECT_NS 3000000000u
#define MAX_TRIPS (1u << 23)

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

static void fail(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t seconds(const char *text)
{
	return (uint64_t)(atof(text) * 1e9);
}

static struct sockaddr_in place(const char *host, int port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		fprintf(stderr, "load: %s is not an IPv4 address\n", host);
		exit(2);
	}
	return address;
}

static void allow_many_files(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		fail("getrlimit");
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		fail("setrlimit");
}

static int open_socket(int type)
{
	int bytes = BUFFER_BYTES;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail("socket");
	if ((type & 0xf) == SOCK_DGRAM) /* what overflows here would be taken for the network's loss */
		setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	return fd;
}

static int open_at(int type, const char *host, int port)
{
	struct sockaddr_in here = place(host, port);
	int yes = 1, fd = open_socket(type);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
	if (bind(fd, (struct sockaddr *)&here, sizeof here) < 0)
		fail("bind");
	return fd;
}

static int *open_flows(const char *host, int port, int count)
{
	struct sockaddr_in there = place(host, port);
	int *flows = calloc((size_t)count, sizeof *flows);
	if (!flows)
		fail("calloc");
	for (int i = 0; i < count; i++) {
		flows[i] = open_socket(SOCK_DGRAM);
		if (connect(flows[i], (struct sockaddr *)&there, sizeof there) < 0)
			fail("connect");
	}
	return flows;
}

static void say_ready(void)
{
	printf("{\"ready\":true}\n");
	fflush(stdout);
}

static uint64_t used_ns(void)
{
	struct rusage usage;
	getrusage(RUSAGE_SELF, &usage);
	return ((uint64_t)usage.ru_utime.tv_sec + (uint64_t)usage.ru_stime.tv_sec) * 1000000000u +
	       ((uint64_t)usage.ru_utime.tv_usec + (uint64_t)usage.ru_stime.tv_usec) * 1000u;
}

static int sink(char **argument)
{
	char message[MESSAGE_BYTES];
	uint64_t count = 0;
	int fd = open_at(SOCK_DGRAM, "0.0.0.0", atoi(argument[0]));
	struct timeval wait = {.tv_usec = 50000};

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	say_ready();
	while (!stopping) {
		if (recv(fd, message, sizeof message, 0) >= 0)
			count++;
	}
	printf("{\"packets\":%llu}\n", (unsigned long long)count);
	return 0;
}

static int blast(char **argument)
{
	char message[MESSAGE_BYTES] = {0};
	int count = atoi(argument[2]);
	int *flows = open_flows(argument[0], atoi(argument[1]), count);
	uint64_t used = used_ns(), sent = 0, refused = 0;
	uint64_t start = now_ns(), end = start + seconds(argument[3]);

	while (!stopping) {
		/* The clock is read once in a while: it would be a part of what is measured. */
		for (int i = 0; i < 256; i++) {
			if (send(flows[sent % (unsigned)count], message, sizeof message, 0) < 0)
				refused++;
			sent++;
		}
		if (now_ns() >= end)
			break;
	}
	printf("{\"sent\":%llu,\"refused\":%llu,\"ns\":%llu,\"used_ns\":%llu}\n",
	       (unsigned long long)sent, (unsigned long long)refused,
	       (unsigned long long)(now_ns() - start), (unsigned long long)(used_ns() - used));
	return 0;
}

static int watch_all(const int *fds, int count)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	if (epoll < 0)
		fail("epoll_create1");
	for (int i = 0; i < count; i++) {
		struct epoll_event event = {.events = EPOLLIN, .data.fd = fds[i]};
		if (epoll_ctl(epoll, EPOLL_CTL_ADD, fds[i], &event) < 0)
			fail("epoll_ctl");
	}
	return epoll;
}

static int echo(char **argument)
{
	int count = atoi(argument[1]), *fds = calloc((size_t)count, sizeof *fds);
	struct epoll_event events[EVENTS];
	char message[2048];

	allow_many_files();
	if (!fds)
		fail("calloc");
	for (int i = 0; i < count; i++)
		fds[i] = open_at(SOCK_DGRAM | SOCK_NONBLOCK, "0.0.0.0", atoi(argument[0]) + i);
	int epoll = watch_all(fds, count);
	say_ready();
	while (!stopping) {
		int ready = epoll_wait(epoll, events, EVENTS, 100);
		for (int i = 0; i < ready; i++) {
			int fd = events[i].data.fd;
			struct sockaddr_in from;
			socklen_t length = sizeof from;
			ssize_t got;
			while ((got = recvfrom(fd, message, sizeof message, 0, (struct sockaddr *)&from,
					       &length)) >= 0) {
				sendto(fd, message, (size_t)got, 0, (struct sockaddr *)&from, length);
				length = sizeof from;
			}
		}
	}
	return 0;
}

static int compare(const void *left, const void *right)
{
	uint32_t a = *(const uint32_t *)left, b = *(const uint32_t *)right;
	return a < b ? -1 : a > b;
}

static uint32_t *times;
static size_t timed;

static void remember(uint64_t ns)
{
	if (!times && !(times = malloc(MAX_TRIPS * sizeof *times)))
		fail("malloc");
	if (timed < MAX_TRIPS)
		times[timed++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static double percentile_us(unsigned percent)
{
	return timed ? times[(timed - 1) * percent / 100] / 1000.0 : 0;
}

static int trips(char **argument)
{
	int count = atoi(argument[2]);
	int *flows = open_flows(argument[0], atoi(argument[1]), count);
	uint64_t number = 0, lost = 0, end = now_ns() + seconds(argument[3]);
	struct timeval wait = {.tv_usec = LOST_NS / 1000};

	for (int i = 0; i < count; i++)
		setsockopt(flows[i], SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait);
	while (!stopping && now_ns() < end) {
		char message[MESSAGE_BYTES] = {0};
		int fd = flows[number++ % (unsigned)count];
		uint64_t began = now_ns();
		if (send(fd, message, sizeof message, 0) < 0 ||
		    recv(fd, message, sizeof message, 0) < 0) {
			lost++;
			continue;
		}
		if (number > (unsigned)count) /* the first round makes the flows */
			remember(now_ns() - began);
	}
	qsort(times, timed, sizeof *times, compare);
	printf("{\"trips\":%zu,\"lost\":%llu,\"p50_us\":%.2f,\"p99_us\":%.2f}\n", timed,
	       (unsigned long long)lost, percentile_us(50), percentile_us(99));
	return 0;
}

static int serve(char **argument)
{
	int count = atoi(argument[1]), *fds = calloc((size_t)count, sizeof *fds);
	struct epoll_event events[EVENTS];
	char message[MESSAGE_BYTES] = {0};

	allow_many_files();
	if (!fds)
		fail("calloc");
	for (int i = 0; i < count; i++) {
		fds[i] = open_at(SOCK_STREAM | SOCK_NONBLOCK, "0.0.0.0", atoi(argument[0]) + i);
		if (listen(fds[i], 4096) < 0)
			fail("listen");
	}
	int epoll = watch_all(fds, count);
	int most = fds[count - 1]; /* listeners have the lowest numbers */
	say_ready();
	while (!stopping) {
		int ready = epoll_wait(epoll, events, EVENTS, 100);
		for (int i = 0; i < ready; i++) {
			int fd = events[i].data.fd;
			if (fd > most) {
				if (recv(fd, message, sizeof message, 0) > 0)
					send(fd, message, sizeof message, MSG_NOSIGNAL);
				else
					close(fd);
				continue;
			}
			for (int made; (made = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0;) {
				struct epoll_event event = {.events = EPOLLIN, .data.fd = made};
				epoll_ctl(epoll, EPOLL_CTL_ADD, made, &event);
			}
		}
	}
	return 0;
}

struct client {
	uint64_t began;
	int fd;
};

static void begin(struct client *client, int epoll, uint32_t index, const struct sockaddr_in *there)
{
	struct epoll_event event = {.events = EPOLLOUT, .data.u32 = index};
	client->fd = open_socket(SOCK_STREAM | SOCK_NONBLOCK);
	client->began = now_ns();
	if (connect(client->fd, (const struct sockaddr *)there, sizeof *there) < 0 &&
	    errno != EINPROGRESS)
		fail("connect");
	epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event);
}

static int connect_all(char **argument)
{
	int first = atoi(argument[1]), ports = atoi(argument[2]), count = atoi(argument[3]);
	struct client *clients = calloc((size_t)count, sizeof *clients);
	struct epoll_event events[EVENTS];
	char message[MESSAGE_BYTES] = {0};
	uint64_t made = 0, failed = 0, next = 0;
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	if (!clients || epoll < 0)
		fail("clients");
	uint64_t start = now_ns(), end = start + seconds(argument[4]), now = start;
	for (int i = 0; i < count; i++) {
		struct sockaddr_in there = place(argument[0], first + (int)(next++ % (unsigned)ports));
		begin(&clients[i], epoll, (uint32_t)i, &there);
	}
	while (!stopping && now < end) {
		int ready = epoll_wait(epoll, events, EVENTS, 10);
		for (int i = 0; i < ready; i++) {
			uint32_t index = events[i].data.u32;
			struct client *client = &clients[index];
			if (events[i].events & EPOLLOUT && !(events[i].events & (EPOLLERR | EPOLLHUP))) {
				struct epoll_event event = {.events = EPOLLIN, .data.u32 = index};
				send(client->fd, message, sizeof message, MSG_NOSIGNAL);
				epoll_ctl(epoll, EPOLL_CTL_MOD, client->fd, &event);
				continue;
			}
			if (recv(client->fd, message, sizeof message, 0) == sizeof message) {
				made++;
				remember(now_ns() - client->began);
			} else {
				failed++;
			}
			close(client->fd);
			struct sockaddr_in there =
				place(argument[0], first + (int)(next++ % (unsigned)ports));
			begin(client, epoll, index, &there);
		}
		now = now_ns();
		for (int i = 0; ready == 0 && i < count; i++) {
			if (now - clients[i].began < CONNECT_NS)
				continue;
			failed++;
			close(clients[i].fd);
			struct sockaddr_in there =
				place(argument[0], first + (int)(next++ % (unsigned)ports));
			begin(&clients[i], epoll, (uint32_t)i, &there);
		}
	}
	if (timed)
		qsort(times, timed, sizeof *times, compare);
	printf("{\"connections\":%llu,\"failed\":%llu,\"ns\":%llu,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
	       (unsigned long long)made, (unsigned long long)failed,
	       (unsigned long long)(now - start), percentile_us(50), percentile_us(99));
	return 0;
}

/* Send from some sources to one port and take their answers in; how many were answered. */
static int exchange(const int *fds, int count, const struct sockaddr_in *there, uint8_t *answered)
{
	char message[MESSAGE_BYTES] = {0};
	int missing = 0, found = 0;

	for (int i = 0; i < count; i++)
		if (!answered[i]) {
			sendto(fds[i], message, sizeof message, 0, (const struct sockaddr *)there,
			       sizeof *there);
			missing++;
		}
	for (uint64_t end = now_ns() + WINDOW_NS; found < missing && now_ns() < end;)
		for (int i = 0; i < count; i++) {
			struct sockaddr_in from;
			socklen_t length = sizeof from;
			if (!answered[i] && recvfrom(fds[i], message, sizeof message, MSG_DONTWAIT,
						     (struct sockaddr *)&from, &length) > 0 &&
			    from.sin_port == there->sin_port) {
				answered[i] = 1;
				found++;
			}
		}
	return found;
}

static int fill(char **argument)
{
	int first = atoi(argument[1]), ports = atoi(argument[2]), sources = atoi(argument[3]);
	int *fds = calloc((size_t)sources, sizeof *fds);
	uint8_t *answered = malloc((size_t)sources);
	uint64_t flows = 0, start = now_ns(), end = start + seconds(argument[4]);

	allow_many_files();
	if (!fds || !answered)
		fail("malloc");
	for (int i = 0; i < sources; i++)
		fds[i] = open_at(SOCK_DGRAM | SOCK_NONBLOCK, "0.0.0.0", 10000 + i);
	for (int port = 0; port < ports && !stopping && now_ns() < end; port++) {
		struct sockaddr_in there = place(argument[0], first + port);
		memset(answered, 0, (size_t)sources);
		for (int part = 0; part < sources; part += WINDOW) {
			int count = sources - part < WINDOW ? sources - part : WINDOW, left = count;
			for (int attempt = 0; left && attempt < 3; attempt++)
				left -= exchange(fds + part, count, &there, answered + part);
			flows += (uint64_t)(count - left);
		}
	}
	printf("{\"flows\":%llu,\"ns\":%llu}\n", (unsigned long long)flows,
	       (unsigned long long)(now_ns() - start));
	return 0;
}

/* Says "found" when an answer comes after none did, and "lost" once none has come for LOST_MS. Both
 * carry when the first and the last of the packets concerned was sent. */
static int watch(char **argument)
{
	struct sockaddr_in there = place(argument[0], atoi(argument[1]));
	uint64_t interval = (uint64_t)atoll(argument[2]) * 1000u;
	uint64_t patience = (uint64_t)atoll(argument[3]) * 1000000u;
	uint64_t last_sent = 0, last_seen = now_ns(), due = now_ns();
	int answered = 0, fd = open_socket(SOCK_DGRAM | SOCK_NONBLOCK);

	if (connect(fd, (struct sockaddr *)&there, sizeof there) < 0)
		fail("connect");
	say_ready();
	while (!stopping) {
		uint64_t now = now_ns(), message[MESSAGE_BYTES / 8] = {now};
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		send(fd, message, sizeof message, 0);
		due += interval;
		for (; (now = now_ns()) < due;) {
			struct timespec left = {.tv_nsec = (long)(due - now)};
			if (ppoll(&wait, 1, &left, NULL) <= 0)
				break;
			while (recv(fd, message, sizeof message, 0) == sizeof message) {
				last_seen = now_ns();
				last_sent = message[0];
				if (answered)
					continue;
				answered = 1;
				printf("{\"event\":\"found\",\"sent_ns\":%llu}\n",
				       (unsigned long long)last_sent);
				fflush(stdout);
			}
		}
		if (answered && now - last_seen > patience) {
			answered = 0;
			printf("{\"event\":\"lost\",\"sent_ns\":%llu}\n",
			       (unsigned long long)last_sent);
			fflush(stdout);
		}
		if (now > due + 10 * interval)
			due = now; /* we were held up: no burst afterwards */
	}
	return 0;
}

int main(int count, char **argument)
{
	static const struct {
		const char *name;
		int arguments;
		int (*run)(char **);
	} commands[] = {
		{"sink", 1, sink},   {"blast", 4, blast}, {"echo", 2, echo},
		{"trips", 4, trips}, {"serve", 2, serve}, {"connect", 5, connect_all},
		{"fill", 5, fill},   {"watch", 4, watch},
	};
	struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
		if (count == commands[i].arguments + 2 && !strcmp(argument[1], commands[i].name))
			return commands[i].run(argument + 2);
	fprintf(stderr, "usage: see the head of load.c\n");
	return 2;
}
