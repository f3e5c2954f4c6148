// What every file of the library that exports functions needs.

#pragma once

#define VM2F_EXPORT extern "C" __attribute__((visibility("default")))
