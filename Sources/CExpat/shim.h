/* libexpat: the libvirt hook reads a domain's XML with it. */
#include <expat.h>

/* Debian 13's expat marks XML_GetCurrentLineNumber as deprecated; what it offers instead, Debian 12's does not have.
   The call is here because warnings of a system module's headers are no errors. */
static inline XML_Size expat_line_number(XML_Parser parser)
{
    return XML_GetCurrentLineNumber(parser);
}
