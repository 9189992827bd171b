#!/bin/sh
# Made by install.sh, started by defq.service: turns the settings of @CONFIG@ into options.
set -f # OPTIONS is cut at its spaces and taken as it stands
exec "@LAUNCHER@" run --bundle "${BUNDLE:-@PREFIX@/current/bundle}" --source "$SOURCE" \
    ${HOST:+--host "$HOST"} ${DEFQ:+--defq "$DEFQ"} ${RAD:+--rad "$RAD"} \
    ${CEILING:+--ceiling "$CEILING"} ${CEILING_BYTES:+--ceiling-bytes "$CEILING_BYTES"} ${JSONL:+--jsonl "$JSONL"} ${OPTIONS:-}
