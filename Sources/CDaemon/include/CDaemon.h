// What the daemon needs of the C library that Swift's Glibc module does not have.
#ifndef CDAEMON_H
#define CDAEMON_H

#include <signal.h>
#include <sys/signalfd.h>

/// SFD_NONBLOCK and SFD_CLOEXEC, which are enumerators with macros of their own names.
static const int cd_signal_flags = SFD_NONBLOCK | SFD_CLOEXEC;

#endif
