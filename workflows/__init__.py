"""The workflow of a batch: it waits and decides; `activities` make every call to the API and the store."""
