#include "EXTERN.h"
#include "perl.h"
#include "XSUB.h"

#include <libpq-fe.h>

MODULE = Sandbox::Postgres  PACKAGE = Sandbox::Postgres

int
library_version()
  CODE:
    RETVAL = PQlibVersion();
  OUTPUT:
    RETVAL
