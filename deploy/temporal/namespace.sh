#!/bin/sh
# Makes the namespace TEMPORAL_NAMESPACE at TEMPORAL_ADDRESS, keeping finished runs for RETENTION_HOURS, with the search
# attributes of a run; a shorter retention is raised, a longer one and attributes that are there stay.
set -eu

until temporal operator cluster health >/dev/null 2>&1; do
    attempts=$((${attempts:-0} + 1))
    [ "$attempts" -lt 60 ] || { echo "No Temporal server answers at $TEMPORAL_ADDRESS" >&2; exit 1; }
    sleep 1
done

if ! described=$(temporal operator namespace describe --namespace "$TEMPORAL_NAMESPACE" --output json 2>&1); then
    # Whatever else is wrong, such as a refusal, is no reason to make one.
    case $described in *"not found"*) ;; *) printf '%s\n' "$described" >&2; exit 1 ;; esac
    temporal operator namespace create --namespace "$TEMPORAL_NAMESPACE" --retention "${RETENTION_HOURS}h"
else
    seconds=$(printf '%s\n' "$described" | sed -n 's/.*"workflowExecutionRetentionTtl": *"\([0-9]*\)s".*/\1/p')
    [ -n "$seconds" ] || { echo "No retention in what is said of namespace $TEMPORAL_NAMESPACE: $described" >&2; exit 1; }
    if [ "$seconds" -lt $((RETENTION_HOURS * 3600)) ]; then
        temporal operator namespace update --namespace "$TEMPORAL_NAMESPACE" --retention "${RETENTION_HOURS}h"
    else
        echo "Namespace $TEMPORAL_NAMESPACE keeps finished runs for $((seconds / 3600)) hours"
    fi
fi

for attribute in BatchId=Keyword BatchStatus=Keyword BatchRequests=Int BatchOutcome=Keyword; do
    attempts=0
    until said=$(temporal operator search-attribute create --namespace "$TEMPORAL_NAMESPACE" \
        --name "${attribute%=*}" --type "${attribute#*=}" 2>&1); do
        case $said in
        # Runs do without it.
        *"different type"*) break ;;
        # It takes a server some seconds to know its new namespace everywhere.
        *"not found"*) [ "$attempts" -lt 60 ] || break ;;
        *) printf '%s\n' "$said" >&2; exit 1 ;;
        esac
        attempts=$((attempts + 1))
        sleep 1
    done
    printf '%s: %s\n' "$attribute" "$said"
done
