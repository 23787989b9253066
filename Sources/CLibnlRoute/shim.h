/* netinet/in.h goes first: linux/in6.h clashes with it otherwise. */
#include <netinet/in.h>
#include <netlink/netlink.h>
