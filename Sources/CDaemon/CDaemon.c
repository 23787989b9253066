#include "CDaemon.h"
