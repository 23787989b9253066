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

/**
 * The file change counter (https://www.sqlite.org/fileformat2.html, 1.3.6), read by SQLite's own descriptor without its locks; another
 * number when another transaction has ended since. -1 when it cannot be read.
 */
static inline long long csqlite_change_counter(sqlite3 *database) {
    sqlite3_file *file = (sqlite3_file *)0;
    unsigned char bytes[4];
    int code = sqlite3_file_control(database, "main", SQLITE_FCNTL_FILE_POINTER, &file);
    if (code != SQLITE_OK || !file || !file->pMethods) return -1;
    if (file->pMethods->xRead(file, bytes, sizeof(bytes), 24) != SQLITE_OK) return -1;
    return (long long)bytes[0] << 24 | bytes[1] << 16 | bytes[2] << 8 | bytes[3];
}

#endif
