#!/bin/sh
# Makes the namespace TEMPORAL_NAMESPACE at TEMPORAL_ADDRESS, keeping finished runs for RETENTION_HOURS; a shorter
# retention is raised, a longer one stays.
set -eu

until temporal operator cluster health >/dev/null 2>&1; do
    attempts=$((${attempts:-0} + 1))
    [ "$attempts" -lt 60 ] || { echo "No Temporal server answers at $TEMPORAL_ADDRESS" >&2; exit 1; }
    sleep 1
done

if ! described=$(temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" --output json 2>&1); then
    # Whatever else is wrong, such as a refusal, is no reason to make one.
    case $described in *"not found"*) ;; *) printf '%s\n' "$described" >&2; exit 1 ;; esac
    exec temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "${RETENTION_HOURS}h"
fi

seconds=$(printf '%s\n' "$described" | sed -n 's/.*"workflowExecutionRetentionTtl": *"\([0-9]*\)s".*/\1/p')
[ -n "$seconds" ] || { echo "No retention in what is said of namespace $TEMPORAL_NAMESPACE: $described" >&2; exit 1; }
if [ "$seconds" -lt $((RETENTION_HOURS * 3600)) ]; then
    exec temporal operator namespace update --namespace "$TEMPORAL_NAMESPACE" --retention "${RETENTION_HOURS}h"
fi
echo "Namespace $TEMPORAL_NAMESPACE keeps finished runs for $((seconds / 3600)) hours"
