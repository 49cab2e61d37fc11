"""What runs on a laptop in place of Azure: embedded Event Hubs, embedded Functions host, Azurite, supervisor."""
