/* libexpat: the libvirt hook reads a domain's XML with it. */
#include <expat.h>
