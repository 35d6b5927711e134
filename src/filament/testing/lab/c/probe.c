/* Numbered packets, counted to the last one: the lab's measure of loss and of first contact.
 *
 *   probe reflect PORT                          answer every datagram; on SIGTERM print counts
 *   probe send ADDRESS PORT RATE_HZ SECONDS     send at a steady rate, count the replies, print
 *   probe first ADDRESS PORT INTERVAL_US TIMEOUT_MS
 *                                               send until the first reply comes, print its time
 *
 * `reflect` and `send` together tell the two directions apart: the reflector says which numbers
 * arrived, the sender which came back. `send` ends after SECONDS or on SIGTERM, then listens one
 * more second for stragglers. Output is one JSON object on stdout. Times are CLOCK_MONOTONIC,
 * which all processes of a machine share. No dependencies but libc.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_NUMBERS (1u << 22) /* over an hour at 1 kHz */
#define STRAGGLERS_MS 1000
#define BUFFER_BYTES (8 << 20)

struct datagram {
	uint64_t run;    /* which sender: strays of an earlier run are not counted */
	uint64_t number;
	uint64_t sent_ns;
};

struct tally {
	uint8_t *seen;
	uint64_t count, duplicates, reordered, highest, last_ns, longest_gap_ns;
};

static volatile sig_atomic_t stopping;

static void on_signal(int number)
{
	(void)number;
	stopping = 1;
}

static void fail(const char *what)
{
	fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void sleep_until(uint64_t at)
{
	struct timespec t = {.tv_sec = (time_t)(at / 1000000000u), .tv_nsec = (long)(at % 1000000000u)};
	while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR && !stopping)
		;
}

/* Real-time priority keeps the pace on a busy machine; without the right to it we do our best. */
static void hurry(void)
{
	struct sched_param param = {.sched_priority = 10};
	sched_setscheduler(0, SCHED_FIFO, &param);
}

static int open_socket(void)
{
	int bytes = BUFFER_BYTES;
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		fail("socket");
	/* A probe that overflows its own buffer would report its own loss as the network's. */
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &bytes, sizeof bytes);
	setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes);
	return fd;
}

static struct sockaddr_in address_of(const char *host, const char *port)
{
	struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
	if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
		fprintf(stderr, "probe: %s is not an IPv4 address\n", host);
		exit(2);
	}
	return address;
}

static void start_tally(struct tally *tally)
{
	memset(tally, 0, sizeof *tally);
	tally->seen = calloc(MAX_NUMBERS, 1);
	if (!tally->seen)
		fail("calloc");
}

static void count(struct tally *tally, uint64_t number, uint64_t now)
{
	if (number >= MAX_NUMBERS)
		return;
	if (tally->seen[number]) {
		tally->duplicates++;
		return;
	}
	tally->seen[number] = 1;
	if (tally->count && number < tally->highest)
		tally->reordered++;
	if (number > tally->highest)
		tally->highest = number;
	if (tally->count && now - tally->last_ns > tally->longest_gap_ns)
		tally->longest_gap_ns = now - tally->last_ns;
	tally->last_ns = now;
	tally->count++;
}

static void print_tally(const char *prefix, const struct tally *tally)
{
	printf("\"%scount\":%llu,\"%sduplicates\":%llu,\"%sreordered\":%llu,\"%slongest_gap_us\":%llu",
	       prefix, (unsigned long long)tally->count, prefix, (unsigned long long)tally->duplicates,
	       prefix, (unsigned long long)tally->reordered, prefix,
	       (unsigned long long)(tally->longest_gap_ns / 1000));
}

static int reflect(char **argument)
{
	struct sockaddr_in here = address_of("0.0.0.0", argument[0]);
	struct tally tally;
	uint64_t run = 0;
	int fd = open_socket();

	start_tally(&tally);
	if (bind(fd, (struct sockaddr *)&here, sizeof here) < 0)
		fail("bind");
	printf("{\"ready\":true}\n");
	fflush(stdout);
	hurry();
	while (!stopping) {
		struct datagram datagram;
		struct sockaddr_in from;
		socklen_t length = sizeof from;
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		if (poll(&wait, 1, 100) <= 0)
			continue;
		if (recvfrom(fd, &datagram, sizeof datagram, 0, (struct sockaddr *)&from, &length) !=
		    sizeof datagram)
			continue;
		if (datagram.run != run) { /* a new sender: count from nothing */
			free(tally.seen);
			start_tally(&tally);
			run = datagram.run;
		}
		count(&tally, datagram.number, now_ns());
		sendto(fd, &datagram, sizeof datagram, 0, (struct sockaddr *)&from, length);
	}
	printf("{");
	print_tally("", &tally);
	printf("}\n");
	return 0;
}

struct listener {
	int fd;
	uint64_t run;
	struct tally tally;
	uint64_t slowest_ns;
	volatile int done;
};

static void *listen_for_replies(void *argument)
{
	struct listener *listener = argument;
	while (!listener->done) {
		struct datagram datagram;
		struct pollfd wait = {.fd = listener->fd, .events = POLLIN};
		if (poll(&wait, 1, 50) <= 0)
			continue;
		if (recv(listener->fd, &datagram, sizeof datagram, 0) != sizeof datagram ||
		    datagram.run != listener->run)
			continue;
		uint64_t now = now_ns();
		count(&listener->tally, datagram.number, now);
		if (now - datagram.sent_ns > listener->slowest_ns)
			listener->slowest_ns = now - datagram.sent_ns;
	}
	return NULL;
}

static int send_steadily(char **argument)
{
	struct sockaddr_in there = address_of(argument[0], argument[1]);
	uint64_t interval = 1000000000u / (uint64_t)atoll(argument[2]);
	uint64_t start, latest = 0, sent = 0, refused = 0;
	struct listener listener = {0};
	pthread_t thread;

	start_tally(&listener.tally);
	listener.fd = open_socket();
	if (connect(listener.fd, (struct sockaddr *)&there, sizeof there) < 0)
		fail("connect");
	hurry();
	if (pthread_create(&thread, NULL, listen_for_replies, &listener))
		fail("pthread_create");
	start = now_ns();
	listener.run = start;
	uint64_t total = (uint64_t)(atof(argument[3]) * 1e9) / interval;
	if (total > MAX_NUMBERS)
		total = MAX_NUMBERS;
	for (uint64_t number = 0; number < total && !stopping; number++) {
		uint64_t due = start + number * interval;
		sleep_until(due);
		uint64_t now = now_ns();
		struct datagram datagram = {.run = start, .number = number, .sent_ns = now};
		if (now > due && now - due > latest)
			latest = now - due;
		/* A refused send (say an ICMP error reported on the socket) is not a sent packet:
		 * it is said apart, and the number is tried once more so that none is skipped. */
		if (send(listener.fd, &datagram, sizeof datagram, 0) < 0) {
			refused++;
			if (send(listener.fd, &datagram, sizeof datagram, 0) < 0)
				continue;
		}
		sent++;
	}
	sleep_until(now_ns() + STRAGGLERS_MS * 1000000ull);
	listener.done = 1;
	pthread_join(thread, NULL);
	printf("{\"sent\":%llu,\"refused\":%llu,\"latest_send_us\":%llu,\"slowest_reply_us\":%llu,",
	       (unsigned long long)sent, (unsigned long long)refused,
	       (unsigned long long)(latest / 1000), (unsigned long long)(listener.slowest_ns / 1000));
	print_tally("reply_", &listener.tally);
	printf("}\n");
	return 0;
}

/* Sends from the moment it is started and says when it was answered first, as absolute time, so
 * that the caller can subtract the moment it asked for the port. */
static int first_reply(char **argument)
{
	struct sockaddr_in there = address_of(argument[0], argument[1]);
	uint64_t interval = (uint64_t)atoll(argument[2]) * 1000u;
	uint64_t start = now_ns(), deadline = start + (uint64_t)atoll(argument[3]) * 1000000u;
	uint64_t due = start, number = 0;
	int fd = open_socket();

	if (connect(fd, (struct sockaddr *)&there, sizeof there) < 0)
		fail("connect");
	printf("{\"ready\":true}\n");
	fflush(stdout);
	hurry();
	while (!stopping && now_ns() < deadline) {
		struct datagram datagram = {.run = start, .number = number++, .sent_ns = now_ns()};
		struct pollfd wait = {.fd = fd, .events = POLLIN};
		send(fd, &datagram, sizeof datagram, 0);
		due += interval;
		for (;;) {
			uint64_t now = now_ns();
			if (now >= due)
				break;
			struct timespec left = {.tv_nsec = (long)(due - now)};
			if (ppoll(&wait, 1, &left, NULL) <= 0)
				break;
			if (recv(fd, &datagram, sizeof datagram, 0) == sizeof datagram &&
			    datagram.run == start) {
				printf("{\"replied_ns\":%llu,\"number\":%llu,\"sent_ns\":%llu}\n",
				       (unsigned long long)now_ns(),
				       (unsigned long long)datagram.number,
				       (unsigned long long)datagram.sent_ns);
				return 0;
			}
		}
	}
	printf("{\"replied_ns\":null,\"number\":%llu}\n", (unsigned long long)number);
	return 1;
}

int main(int count_of_arguments, char **argument)
{
	struct sigaction action = {.sa_handler = on_signal};
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);
	if (count_of_arguments == 3 && !strcmp(argument[1], "reflect"))
		return reflect(argument + 2);
	if (count_of_arguments == 6 && !strcmp(argument[1], "send") && atoll(argument[4]) > 0)
		return send_steadily(argument + 2);
	if (count_of_arguments == 6 && !strcmp(argument[1], "first") && atoll(argument[4]) > 0)
		return first_reply(argument + 2);
	fprintf(stderr, "usage: probe reflect PORT\n"
			"       probe send ADDRESS PORT RATE_HZ SECONDS\n"
			"       probe first ADDRESS PORT INTERVAL_US TIMEOUT_MS\n");
	return 2;
}
