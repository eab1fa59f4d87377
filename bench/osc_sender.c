/* Sends RATE messages a second for SECONDS to PORT of this machine: /lara/valence,f from -1 to 1 and, every 100 ms,
   /lara/position,f at 120 BPM. Writes to FILE when each valence was sent (CLOCK_MONOTONIC, doubles).
   cc -O2 -o osc_sender osc_sender.c && ./osc_sender PORT RATE SECONDS FILE */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

static size_t message(char *packet, const char *address, float value) {
    uint32_t bits;
    size_t size = strlen(address) / 4 * 4 + 4;
    memset(packet, 0, 64);
    strcpy(packet, address);
    memcpy(packet + size, ",f\0\0", 4);
    memcpy(&bits, &value, 4);
    bits = htonl(bits);
    memcpy(packet + size + 4, &bits, 4);
    return size + 8;
}

int main(int argc, char **argv) {
    if (argc != 5) return 2;
    long rate = atol(argv[2]), count = rate * atol(argv[3]);
    double *sent = malloc(count * sizeof(double));
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(argv[1])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int socket_ = socket(AF_INET, SOCK_DGRAM, 0);
    char packet[64];
    double start = now();
    for (long i = 0; i < count; i++) {
        double due = start + (double)i / rate;
        while (now() < due) {
            struct timespec pause = {0, 20000};
            nanosleep(&pause, NULL);
        }
        if (i % (rate / 10) == 0)
            sendto(socket_, packet, message(packet, "/lara/position", 2.0 * i / rate), 0, (struct sockaddr *)&to, sizeof to);
        sent[i] = now();
        size_t size = message(packet, "/lara/valence", (float)(-1.0 + 2.0 * i / (count - 1)));
        if (sendto(socket_, packet, size, 0, (struct sockaddr *)&to, sizeof to) < 0) return 1;
    }
    FILE *file = fopen(argv[4], "wb");
    return file && fwrite(sent, sizeof(double), count, file) == (size_t)count && fclose(file) == 0 ? 0 : 1;
}
