/* The shims are static inline in the header; a C target needs one source file. */
#define _GNU_SOURCE
#include "CLab.h"
