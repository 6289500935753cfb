"""What the sandbox accepts, handed over by the benchmark in the environment. Nothing in it is secret."""

import os

SECRETS = {
    "consul": os.environ["SANDBOX_CONSUL_TOKEN"],
    "aveva_id": os.environ["SANDBOX_AVEVA_CLIENT_ID"],
    "aveva_secret": os.environ["SANDBOX_AVEVA_CLIENT_SECRET"],
    "thousandeyes": os.environ["SANDBOX_THOUSANDEYES_BEARER_TOKEN"],
    "launchdarkly": os.environ["SANDBOX_LAUNCHDARKLY_ACCESS_TOKEN"],
    "puppet": os.environ["SANDBOX_PUPPET_TOKEN"],
}
