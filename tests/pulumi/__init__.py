"""The Pulumi program against Pulumi's mocks, in an environment of its own: `python -m tests.pulumi`."""
