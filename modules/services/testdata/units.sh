# Units of every kind, for a lab machine.
unit() { cat > /etc/systemd/system/$1; }
unit plain.service <<E
[Service]
ExecStart=/bin/sleep infinity
ExecReload=/bin/sh -c 'echo reloaded >> /run/plain.log'
ExecStartPre=/bin/sh -c 'echo started >> /run/plain.log'
[Install]
WantedBy=multi-user.target
Alias=plainer.service
E
unit static.service <<E
[Service]
ExecStart=/bin/sleep infinity
E
unit other.service <<E
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
E
unit inst@.service <<E
[Service]
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
E
unit slow.service <<E
[Service]
Type=notify
NotifyAccess=all
ExecStart=/bin/sh -c 'sleep 1; systemd-notify --ready; exec sleep infinity'
[Install]
WantedBy=multi-user.target
E
unit broken.service <<E
[Service]
ExecStart=/bin/sh -c 'echo the port is taken >&2; exit 7'
[Install]
WantedBy=multi-user.target
E
unit nobinary.service <<E
[Service]
ExecStart=/usr/bin/no-such-program
E
unit loop.service <<E
[Service]
ExecStart=/bin/sh -c 'echo crashed >&2; exit 1'
Restart=always
RestartSec=60
E
unit once.service <<E
[Service]
Type=oneshot
ExecStart=/bin/true
E
unit stays.service <<E
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
E
unit conditional.service <<E
[Unit]
ConditionPathExists=/no/such/file
[Service]
ExecStart=/bin/sleep infinity
E
unit needed.service <<E
[Service]
Type=oneshot
ExecStart=/bin/false
E
unit dependent.service <<E
[Unit]
Requires=needed.service
After=needed.service
[Service]
ExecStart=/bin/sleep infinity
E
unit tick.timer <<E
[Timer]
OnCalendar=daily
[Install]
WantedBy=timers.target
E
unit tick.service <<E
[Service]
Type=oneshot
ExecStart=/bin/true
E
unit door.socket <<E
[Socket]
ListenStream=/run/door
[Install]
WantedBy=sockets.target
E
unit door.service <<E
[Service]
ExecStart=/bin/sleep infinity
E
unit unreadable.service <<E
[Service]
Restart=no
E
unit also.service <<E
[Service]
ExecStart=/bin/sleep infinity
[Install]
Also=door.socket
E
cat > /etc/init.d/oldstyle <<'E'
#!/bin/sh
### BEGIN INIT INFO
# Provides:          oldstyle
# Required-Start:    $remote_fs
# Required-Stop:     $remote_fs
# Default-Start:     2 3 4 5
# Default-Stop:      0 1 6
# Short-Description: an old script
### END INIT INFO
case "$1" in
start) echo x > /run/oldstyle ;;
stop) rm -f /run/oldstyle ;;
esac
exit 0
E
chmod 755 /etc/init.d/oldstyle
mkdir -p /opt/units
printf '[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n' > /opt/units/away.service
ln -s /opt/units/away.service /etc/systemd/system/away.service
systemctl daemon-reload
