"""From one file, deploy.yml, to all that is in AWS: functions, mappings, roles, alarms."""
