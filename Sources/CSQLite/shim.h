#ifndef FDBSTEER_CSQLITE_H
#define FDBSTEER_CSQLITE_H

#include <sqlite3.h>

/**
 * sqlite3_config is variadic: no statistics of memory, which take a mutex at each allocation, and no block of pages at once, of which
 * each is touched when it is made. Before anything else.
 */
static inline int csqlite_configure(void) {
    int code = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
    return code != SQLITE_OK ? code : sqlite3_config(SQLITE_CONFIG_PAGECACHE, (void *)0, 0, 0);
}

#endif
