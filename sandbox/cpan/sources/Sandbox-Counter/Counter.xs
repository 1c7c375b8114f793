#include "EXTERN.h"
#include "perl.h"
#include "XSUB.h"

MODULE = Sandbox::Counter  PACKAGE = Sandbox::Counter

int
sum(first, second)
    int first
    int second
  CODE:
    RETVAL = first + second;
  OUTPUT:
    RETVAL
