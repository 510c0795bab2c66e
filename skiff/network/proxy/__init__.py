"""The service proxy: Services and EndpointSlices in, an nftables ruleset out."""
