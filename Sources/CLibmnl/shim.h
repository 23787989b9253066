/* netinet/in.h goes first: linux/in6.h, which some uapi headers pull in, clashes with it otherwise. */
#include <netinet/in.h>
#include <libmnl/libmnl.h>
