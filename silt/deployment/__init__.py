"""From one file, deploy.yml, to all that stands in AWS: functions, mappings, roles, alarms."""
