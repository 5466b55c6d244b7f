/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * swallow: a DNS server that takes every question and never answers, at UDP port 53 of 127.0.0.1.
 *
 * Prints "serving", and "asked" for each question, until it is ended.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
	struct sockaddr_in addr = { .sin_family = AF_INET, .sin_port = htons(53),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	char question[512];
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (fd < 0 || bind(fd, (struct sockaddr *)&addr, sizeof(addr)) < 0) {
		perror("swallow");
		return 1;
	}
	printf("serving\n");
	while (recv(fd, question, sizeof(question), 0) >= 0)
		printf("asked\n");
	return 1;
}
