"""The vendors that are read. Listing one here gives it assets, commands, views and the contract tests."""

from __future__ import annotations

from usage_pipeline.contract.vendor import Vendor
from usage_pipeline.vendors.aveva import AVEVA
from usage_pipeline.vendors.consul import CONSUL
from usage_pipeline.vendors.launchdarkly import LAUNCHDARKLY
from usage_pipeline.vendors.puppet import PUPPET
from usage_pipeline.vendors.thousandeyes import THOUSANDEYES

VENDORS: dict[str, Vendor] = {vendor.slug: vendor for vendor in (CONSUL, AVEVA, THOUSANDEYES, LAUNCHDARKLY, PUPPET)}
