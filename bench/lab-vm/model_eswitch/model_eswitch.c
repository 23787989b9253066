// SPDX-License-Identifier: GPL-2.0
/*
 * model_eswitch: a model of an SR-IOV NIC's embedded switch in switchdev mode, as the Linux bridge sees one.
 *
 * It exists because no emulator has an mlx5 or ice eswitch. It copies the order of events from those drivers: what is done in
 * the notifier and what in the ordered workqueue, which key is used for a lookup, which notification is sent to the bridge
 * when, and what is not sent at all (mlx5 in Linux 6.12: drivers/net/ethernet/mellanox/mlx5/core, files en/rep/bridge.c and
 * esw/bridge.c). It does not copy time: only real hardware shows how long real hardware takes.
 *
 * Each port has two netdevs. mes_p0, mes_vf0, ... are the representors: the bridge's ports. far_p0, far_vf0, ... are the
 * other ends: the wire, and the VFs as their guests see them.
 */
#include <linux/debugfs.h>
#include <linux/etherdevice.h>
#include <linux/ethtool.h>
#include <linux/hashtable.h>
#include <linux/if_bridge.h>
#include <linux/if_vlan.h>
#include <linux/jhash.h>
#include <linux/module.h>
#include <linux/platform_device.h>
#include <linux/rtnetlink.h>
#include <linux/seq_file.h>
#include <linux/version.h>
#include <net/devlink.h>
#include <net/switchdev.h>

#define MES_MAX_VFS 64

static unsigned int vfs = 3;
module_param(vfs, uint, 0444);
MODULE_PARM_DESC(vfs, "Number of VF representors (at most 64)");

static unsigned int delay_ms;
module_param(delay_ms, uint, 0644);
MODULE_PARM_DESC(delay_ms, "Milliseconds each FDB work sleeps under RTNL before it touches the table: slow hardware");

static unsigned int queue_delay_ms;
module_param(queue_delay_ms, uint, 0644);
MODULE_PARM_DESC(queue_delay_ms, "Milliseconds each FDB work sleeps before it takes RTNL: a work queue that is behind");

static unsigned int fail_add;
module_param(fail_add, uint, 0644);
MODULE_PARM_DESC(fail_add, "1: creating a rule fails, without a word to anybody, as it does in mlx5");

static unsigned int tick_ms = 1000;
module_param(tick_ms, uint, 0644);
MODULE_PARM_DESC(tick_ms, "Milliseconds between refresh ticks, from the next tick on; 0: no tick but by tick_now");

static bool tick_always;
module_param(tick_always, bool, 0644);
MODULE_PARM_DESC(tick_always, "1: a tick refreshes every learned entry, not only those that forwarded since the last");

struct mes_port {
	struct devlink_port devlink_port;
	struct net_device *representor;
	struct net_device *far;
	/* The representor's bridge. It and the following fields are written under RTNL; the data path reads them without it. */
	struct net_device *bridge;
	bool vlan_filtering;
	u16 pvid;
	DECLARE_BITMAP(vlans, VLAN_N_VID);
	DECLARE_BITMAP(untagged, VLAN_N_VID);
	bool devlink_registered;
};

/* The private part of both netdevs of a port. */
struct mes_end {
	struct mes_port *port;
};

/* One entry is two rules, as in mlx5: frames with this source are accepted from this port, and frames with this
 * destination go to this port. Hardware forwards a frame only when its source and its destination both have an entry.
 */
struct mes_entry {
	struct hlist_node by_key;
	struct list_head list;
	struct rcu_head rcu;
	struct net_device *bridge;
	struct mes_port *port;
	u8 mac[ETH_ALEN];
	u16 vid;
	bool added_by_user;
	atomic64_t packets;	/* frames from this address that met the source's rule: mlx5's counter */
	atomic64_t delivered;	/* frames to this address that hardware forwarded */
	unsigned long last_hit;	/* jiffies of the newest of packets */
	unsigned long last_use;	/* what the last tick knew, and when the bridge last said that the address is in use */
};

struct mes_work {
	struct work_struct work;
	struct net_device *representor;
	u8 mac[ETH_ALEN];
	u16 vid;
	bool add;
	bool added_by_user;
};

/* Written under RTNL, read by the data path under RCU. */
static DEFINE_HASHTABLE(mes_table, 12);
static LIST_HEAD(mes_entries);

static struct platform_device *mes_device;
static struct devlink *mes_devlink;
static struct mes_port *mes_ports;
static unsigned int mes_port_count;
static struct workqueue_struct *mes_queue;
static struct dentry *mes_debugfs;
static struct dentry *mes_mlx5_debugfs;
static struct dentry *mes_mlx5_bridges;

static const struct net_device_ops mes_representor_ops;

static struct mes_port *mes_port_of(const struct net_device *dev)
{
	struct mes_end *end = netdev_priv(dev);

	return dev->netdev_ops == &mes_representor_ops ? end->port : NULL;
}

/* The table */

static u32 mes_hash(const u8 *mac, u16 vid)
{
	return jhash(mac, ETH_ALEN, vid);
}

static struct mes_entry *mes_find(const struct net_device *bridge, const u8 *mac, u16 vid)
{
	struct mes_entry *entry;

	hash_for_each_possible_rcu(mes_table, entry, by_key, mes_hash(mac, vid), lockdep_rtnl_is_held())
		if (entry->bridge == bridge && entry->vid == vid && ether_addr_equal(entry->mac, mac))
			return entry;
	return NULL;
}

static void mes_notify_bridge(struct mes_port *port, const u8 *mac, u16 vid, enum switchdev_notifier_type type)
{
	struct switchdev_notifier_fdb_info info = { .addr = mac, .vid = vid, .offloaded = true };

	call_switchdev_notifiers(type, port->representor, &info.info, NULL);
}

static void mes_remove_quietly(struct mes_entry *entry)
{
	hash_del_rcu(&entry->by_key);
	list_del(&entry->list);
	kfree_rcu(entry, rcu);
}

/* The bridge is notified only of entries that it learned. It deletes its own entry for that address, on whichever port that
 * is by now, as long as it still has the mark of an external learner. A user's entry that replaced a learned one in place
 * gets lost in this way.
 */
static void mes_remove(struct mes_entry *entry)
{
	if (!entry->added_by_user)
		mes_notify_bridge(entry->port, entry->mac, entry->vid, SWITCHDEV_FDB_DEL_TO_BRIDGE);
	mes_remove_quietly(entry);
}

static void mes_add_work(struct mes_port *port, const struct mes_work *work)
{
	struct mes_entry *entry;

	if (port->vlan_filtering && work->vid && !test_bit(work->vid, port->vlans))
		return;

	/* The key has no port: the entry may be on any port of the bridge. Old rules are removed before new ones are added. */
	entry = mes_find(port->bridge, work->mac, work->vid);
	if (entry)
		mes_remove(entry);

	if (fail_add)
		return;
	entry = kzalloc(sizeof(*entry), GFP_KERNEL);
	if (!entry)
		return;
	entry->bridge = port->bridge;
	entry->port = port;
	ether_addr_copy(entry->mac, work->mac);
	entry->vid = work->vid;
	entry->added_by_user = work->added_by_user;
	entry->last_use = jiffies;
	entry->last_hit = jiffies;
	hash_add_rcu(mes_table, &entry->by_key, mes_hash(entry->mac, entry->vid));
	list_add_tail(&entry->list, &mes_entries);

	/* Learned entries are taken over, so the bridge does not age out an entry that only the hardware sees in use. */
	mes_notify_bridge(port, entry->mac, entry->vid,
			  entry->added_by_user ? SWITCHDEV_FDB_OFFLOADED : SWITCHDEV_FDB_ADD_TO_BRIDGE);
}

static void mes_fdb_work(struct work_struct *item)
{
	struct mes_work *work = container_of(item, struct mes_work, work);
	struct mes_port *port = mes_port_of(work->representor);
	struct mes_entry *entry;

	if (queue_delay_ms)
		msleep(queue_delay_ms);
	rtnl_lock();
	if (delay_ms)
		msleep(delay_ms);
	/* The port may have left its bridge since the event. */
	if (!port->bridge)
		goto out;
	if (work->add) {
		mes_add_work(port, work);
	} else {
		/* The entry is removed from whichever port it is on by now. */
		entry = mes_find(port->bridge, work->mac, work->vid);
		if (entry)
			mes_remove(entry);
	}
out:
	rtnl_unlock();
	dev_put(work->representor);
	kfree(work);
}

static void mes_tick(void)
{
	struct mes_entry *entry, *next;

	ASSERT_RTNL();
	list_for_each_entry_safe(entry, next, &mes_entries, list) {
		unsigned long ageing_time = clock_t_to_jiffies(br_get_ageing_time(entry->bridge));

		if (entry->added_by_user)
			continue;
		if (tick_always || time_after(READ_ONCE(entry->last_hit), READ_ONCE(entry->last_use))) {
			WRITE_ONCE(entry->last_use, jiffies);
			/* With the port that the driver knows: the bridge may have moved the entry in the meantime. */
			mes_notify_bridge(entry->port, entry->mac, entry->vid, SWITCHDEV_FDB_ADD_TO_BRIDGE);
		} else if (time_is_before_jiffies(READ_ONCE(entry->last_use) + ageing_time)) {
			mes_remove(entry);
		}
	}
}

static void mes_tick_work(struct work_struct *work);
static DECLARE_DELAYED_WORK(mes_tick_item, mes_tick_work);

static void mes_tick_work(struct work_struct *work)
{
	unsigned int interval = READ_ONCE(tick_ms);

	if (interval) {
		rtnl_lock();
		mes_tick();
		rtnl_unlock();
	}
	queue_delayed_work(mes_queue, &mes_tick_item, msecs_to_jiffies(interval ?: 1000));
}

/* The tick runs in the writer's own context and not in the queue. With queue_delay_ms, a test can put it between an event
 * and its work, where mlx5's tick is if it was queued just before.
 */
static int mes_tick_now_set(const char *value, const struct kernel_param *parameter)
{
	bool run;
	int err = kstrtobool(value, &run);

	if (err || !run)
		return err;
	rtnl_lock();
	mes_tick();
	rtnl_unlock();
	return 0;
}

static const struct kernel_param_ops mes_tick_now_ops = { .set = mes_tick_now_set };
module_param_cb(tick_now, &mes_tick_now_ops, NULL, 0200);
MODULE_PARM_DESC(tick_now, "Writing 1 runs a refresh tick before the write returns");

static void mes_flush(const struct mes_port *port, bool notify)
{
	struct mes_entry *entry, *next;

	list_for_each_entry_safe(entry, next, &mes_entries, list) {
		if (entry->port != port)
			continue;
		if (notify)
			mes_remove(entry);
		else
			mes_remove_quietly(entry);
	}
}

static int mes_table_show(struct seq_file *seq, void *unused)
{
	struct mes_entry *entry;

	seq_printf(seq, "%-16s %-17s %4s %20s %-7s %20s\n", "DEV", "MAC", "VLAN", "PACKETS", "FLAGS", "DELIVERED");
	rtnl_lock();
	list_for_each_entry(entry, &mes_entries, list)
		seq_printf(seq, "%-16s %pM %4u %20lld %-7s %20lld\n", entry->port->representor->name, entry->mac,
			   entry->vid, atomic64_read(&entry->packets), entry->added_by_user ? "user" : "learned",
			   atomic64_read(&entry->delivered));
	rtnl_unlock();
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(mes_table);

/* The same path and columns as mlx5's table (esw/bridge_debugfs.c), one file for each bridge: a reader of mlx5's table can
 * read this one. RTNL would be a deadlock: the file is removed under it, and a removal waits for readers.
 */
static int mes_mlx5_table_show(struct seq_file *seq, void *unused)
{
	const struct net_device *bridge = seq->private;
	struct mes_entry *entry;
	int bucket;

	seq_printf(seq, "%-16s %-17s %4s %20s %20s %20s %5s\n", "DEV", "MAC", "VLAN", "PACKETS", "BYTES", "LASTUSE",
		   "FLAGS");
	rcu_read_lock();
	hash_for_each_rcu(mes_table, bucket, entry, by_key)
		if (entry->bridge == bridge)
			seq_printf(seq, "%-16s %-17pM %4d %20lld %20d %20lu %#5x\n", entry->port->representor->name,
				   entry->mac, entry->vid, atomic64_read(&entry->packets), 0, entry->last_hit,
				   entry->added_by_user);
	rcu_read_unlock();
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(mes_mlx5_table);

/* Notifications from the bridge */

static unsigned int mes_ports_in(const struct net_device *bridge)
{
	unsigned int i, count = 0;

	for (i = 0; i < mes_port_count; i++)
		count += mes_ports[i].bridge == bridge;
	return count;
}

static void mes_show_bridge(struct net_device *bridge)
{
	struct dentry *folder = debugfs_create_dir(bridge->name, mes_mlx5_bridges);

	debugfs_create_file("fdb", 0400, folder, bridge, &mes_mlx5_table_fops);
}

static int mes_set_vlan_filtering(const struct net_device *bridge, bool vlan_filtering)
{
	unsigned int i;

	for (i = 0; i < mes_port_count; i++) {
		struct mes_port *port = &mes_ports[i];

		if (port->bridge != bridge || port->vlan_filtering == vlan_filtering)
			continue;
		/* The rules of the old mode are removed. The user's entries in the bridge keep their offload flag nevertheless. */
		mes_flush(port, true);
		port->vlan_filtering = vlan_filtering;
	}
	return 0;
}

/* Attributes are for the representor or, if they concern the whole bridge, for the bridge itself. */
static int mes_attribute_set(struct net_device *dev, struct switchdev_notifier_port_attr_info *info)
{
	struct netlink_ext_ack *extack = switchdev_notifier_info_to_extack(&info->info);
	const struct switchdev_attr *attr = info->attr;
	struct mes_port *port = mes_port_of(dev);
	struct net_device *bridge = port ? port->bridge : NULL;
	unsigned int i;

	for (i = 0; i < mes_port_count && !bridge; i++)
		if (mes_ports[i].bridge == dev)
			bridge = dev;
	if (!bridge)
		return 0;

	info->handled = true;
	switch (attr->id) {
	case SWITCHDEV_ATTR_ID_PORT_PRE_BRIDGE_FLAGS:
		if (attr->u.brport_flags.mask & ~(BR_LEARNING | BR_FLOOD | BR_MCAST_FLOOD)) {
			NL_SET_ERR_MSG_MOD(extack, "Flag is not supported");
			return -EINVAL;
		}
		return 0;
	case SWITCHDEV_ATTR_ID_PORT_BRIDGE_FLAGS:
	case SWITCHDEV_ATTR_ID_BRIDGE_AGEING_TIME: /* the tick asks the bridge */
	case SWITCHDEV_ATTR_ID_BRIDGE_MC_DISABLED:
		return 0;
	case SWITCHDEV_ATTR_ID_BRIDGE_VLAN_FILTERING:
		return mes_set_vlan_filtering(bridge, attr->u.vlan_filtering);
	default:
		return -EOPNOTSUPP;
	}
}

static int mes_object_change(struct net_device *dev, struct switchdev_notifier_port_obj_info *info, bool add)
{
	struct mes_port *port = mes_port_of(dev);
	const struct switchdev_obj_port_vlan *vlan;
	struct mes_entry *entry, *next;

	if (!port || !port->bridge)
		return 0;
	info->handled = true;
	if (info->obj->id != SWITCHDEV_OBJ_ID_PORT_VLAN)
		return info->obj->id == SWITCHDEV_OBJ_ID_PORT_MDB ? 0 : -EOPNOTSUPP;

	vlan = SWITCHDEV_OBJ_PORT_VLAN(info->obj);
	if (!add)
		list_for_each_entry_safe(entry, next, &mes_entries, list)
			if (entry->port == port && entry->vid == vlan->vid)
				mes_remove(entry);
	assign_bit(vlan->vid, port->vlans, add);
	assign_bit(vlan->vid, port->untagged, add && (vlan->flags & BRIDGE_VLAN_INFO_UNTAGGED));
	if (add && (vlan->flags & BRIDGE_VLAN_INFO_PVID))
		WRITE_ONCE(port->pvid, vlan->vid);
	else if (port->pvid == vlan->vid)
		WRITE_ONCE(port->pvid, 0);
	return 0;
}

static int mes_switchdev_blocking_event(struct notifier_block *block, unsigned long event, void *info)
{
	struct net_device *dev = switchdev_notifier_info_to_dev(info);

	switch (event) {
	case SWITCHDEV_PORT_OBJ_ADD:
	case SWITCHDEV_PORT_OBJ_DEL:
		return notifier_from_errno(mes_object_change(dev, info, event == SWITCHDEV_PORT_OBJ_ADD));
	case SWITCHDEV_PORT_ATTR_SET:
		return notifier_from_errno(mes_attribute_set(dev, info));
	default:
		return NOTIFY_DONE;
	}
}

/* Atomic: it can only queue work for an FDB entry. The bridge, and with it the user's acknowledgement, does not wait for
 * that work and never learns its result.
 */
static int mes_switchdev_event(struct notifier_block *block, unsigned long event, void *ptr)
{
	struct net_device *dev = switchdev_notifier_info_to_dev(ptr);
	struct switchdev_notifier_fdb_info *info = ptr;
	struct mes_port *port = mes_port_of(dev);
	struct mes_entry *entry;
	struct mes_work *work;

	if (event == SWITCHDEV_PORT_ATTR_SET)
		return notifier_from_errno(mes_attribute_set(dev, ptr));
	if (!port || !READ_ONCE(port->bridge))
		return NOTIFY_DONE;

	switch (event) {
	case SWITCHDEV_FDB_ADD_TO_BRIDGE:
		rcu_read_lock();
		entry = mes_find(port->bridge, info->addr, info->vid);
		if (entry)
			WRITE_ONCE(entry->last_use, jiffies);
		rcu_read_unlock();
		return NOTIFY_DONE;
	case SWITCHDEV_FDB_ADD_TO_DEVICE:
	case SWITCHDEV_FDB_DEL_TO_DEVICE:
		if (info->is_local)
			return NOTIFY_DONE;
		work = kzalloc(sizeof(*work), GFP_ATOMIC);
		if (!work)
			return notifier_from_errno(-ENOMEM);
		INIT_WORK(&work->work, mes_fdb_work);
		work->representor = dev;
		ether_addr_copy(work->mac, info->addr);
		work->vid = info->vid;
		work->add = event == SWITCHDEV_FDB_ADD_TO_DEVICE;
		work->added_by_user = info->added_by_user;
		dev_hold(dev);
		queue_work(mes_queue, &work->work);
		return NOTIFY_DONE;
	default:
		return NOTIFY_DONE;
	}
}

static int mes_netdevice_event(struct notifier_block *block, unsigned long event, void *ptr)
{
	struct mes_port *port = mes_port_of(netdev_notifier_info_to_dev(ptr));
	struct netdev_notifier_changeupper_info *info = ptr;

	if (event != NETDEV_CHANGEUPPER || !port || !netif_is_bridge_master(info->upper_dev))
		return NOTIFY_DONE;
	if (info->linking) {
		port->vlan_filtering = br_vlan_enabled(info->upper_dev);
		if (!mes_ports_in(info->upper_dev))
			mes_show_bridge(info->upper_dev);
		WRITE_ONCE(port->bridge, info->upper_dev);
	} else {
		WRITE_ONCE(port->bridge, NULL);
		if (!mes_ports_in(info->upper_dev))
			debugfs_lookup_and_remove(info->upper_dev->name, mes_mlx5_bridges);
		mes_flush(port, false);
		port->pvid = 0;
		bitmap_zero(port->vlans, VLAN_N_VID);
		bitmap_zero(port->untagged, VLAN_N_VID);
	}
	return NOTIFY_DONE;
}

static struct notifier_block mes_switchdev_block = { .notifier_call = mes_switchdev_event };
static struct notifier_block mes_switchdev_blocking_block = { .notifier_call = mes_switchdev_blocking_event };
static struct notifier_block mes_netdevice_block = { .notifier_call = mes_netdevice_event };

/* The data path */

static void mes_deliver(struct net_device *to, struct sk_buff *skb)
{
	unsigned int length = skb->len;

	if (dev_forward_skb(to, skb) == NET_RX_SUCCESS)
		dev_sw_netstats_rx_add(to, length);
}

/* Forwards in hardware a frame that came from the far end of a port, and returns whether it did. On a bridge that does not
 * filter VLANs a tag is ignored: only the entries of VLAN 0 count. On a bridge that does, a frame without a tag belongs to
 * the port's PVID, which the bridge sent when it added that VLAN to the port: trying VLAN 0 and then some other would
 * forward frames that software drops.
 */
static bool mes_forward(struct mes_port *from, struct sk_buff *skb)
{
	struct net_device *bridge = READ_ONCE(from->bridge);
	const struct ethhdr *header = (struct ethhdr *)skb->data;
	bool tagged, filtering = READ_ONCE(from->vlan_filtering);
	struct mes_entry *source, *destination;
	u16 tag = 0, vid = 0;

	if (!bridge || is_multicast_ether_addr(header->h_dest))
		return false;
	tagged = !__vlan_hwaccel_get_tag(skb, &tag) || !__vlan_get_tag(skb, &tag);
	if (filtering) {
		vid = (tagged ? tag & VLAN_VID_MASK : 0) ?: READ_ONCE(from->pvid);
		if (!vid)
			return false;
	}
	source = mes_find(bridge, header->h_source, vid);
	if (!source || source->port != from)
		return false;
	atomic64_inc(&source->packets);
	WRITE_ONCE(source->last_hit, jiffies);
	destination = mes_find(bridge, header->h_dest, vid);
	if (!destination || destination->port == from)
		return false;

	atomic64_inc(&destination->delivered);
	if (filtering && tagged && test_bit(vid, destination->port->untagged)) {
		if (skb_vlan_pop(skb))
			goto drop;
	} else if (filtering && !tagged && !test_bit(vid, destination->port->untagged)) {
		__vlan_hwaccel_put_tag(skb, htons(ETH_P_8021Q), vid);
	}
	/* A representor that is down takes the port down. */
	if (!netif_running(destination->port->representor))
		goto drop;
	mes_deliver(destination->port->far, skb);
	return true;
drop:
	kfree_skb(skb);
	return true;
}

static netdev_tx_t mes_far_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct mes_end *end = netdev_priv(dev);

	dev_sw_netstats_tx_add(dev, 1, skb->len);
	rcu_read_lock();
	if (!pskb_may_pull(skb, VLAN_ETH_HLEN) || !mes_forward(end->port, skb))
		mes_deliver(end->port->representor, skb);
	rcu_read_unlock();
	return NETDEV_TX_OK;
}

static netdev_tx_t mes_representor_xmit(struct sk_buff *skb, struct net_device *dev)
{
	struct mes_end *end = netdev_priv(dev);

	dev_sw_netstats_tx_add(dev, 1, skb->len);
	mes_deliver(end->port->far, skb);
	return NETDEV_TX_OK;
}

/* A representor's state drives the carrier at the far end; the representor does not learn the state of the far end. */
static int mes_representor_open(struct net_device *dev)
{
	netif_carrier_on(dev);
	netif_carrier_on(mes_port_of(dev)->far);
	return 0;
}

static int mes_representor_stop(struct net_device *dev)
{
	netif_carrier_off(mes_port_of(dev)->far);
	netif_carrier_off(dev);
	return 0;
}

static int mes_init_netdev(struct net_device *dev)
{
	dev->tstats = netdev_alloc_pcpu_stats(struct pcpu_sw_netstats);
	return dev->tstats ? 0 : -ENOMEM;
}

static void mes_uninit_netdev(struct net_device *dev)
{
	free_percpu(dev->tstats);
}

#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
static struct devlink_port *mes_get_devlink_port(struct net_device *dev)
{
	return &mes_port_of(dev)->devlink_port;
}
#endif

static const struct net_device_ops mes_representor_ops = {
	.ndo_init = mes_init_netdev,
	.ndo_uninit = mes_uninit_netdev,
	.ndo_open = mes_representor_open,
	.ndo_stop = mes_representor_stop,
	.ndo_start_xmit = mes_representor_xmit,
	.ndo_get_stats64 = dev_get_tstats64,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	.ndo_get_devlink_port = mes_get_devlink_port,
#endif
};

static const struct net_device_ops mes_far_ops = {
	.ndo_init = mes_init_netdev,
	.ndo_uninit = mes_uninit_netdev,
	.ndo_start_xmit = mes_far_xmit,
	.ndo_get_stats64 = dev_get_tstats64,
	.ndo_set_mac_address = eth_mac_addr,
	.ndo_validate_addr = eth_validate_addr,
};

static void mes_get_drvinfo(struct net_device *dev, struct ethtool_drvinfo *information)
{
	strscpy(information->driver, "model_eswitch", sizeof(information->driver));
}

static const struct ethtool_ops mes_ethtool_ops = { .get_drvinfo = mes_get_drvinfo, .get_link = ethtool_op_get_link };

/* Setup and teardown */

static int mes_eswitch_mode_get(struct devlink *devlink, u16 *mode)
{
	*mode = DEVLINK_ESWITCH_MODE_SWITCHDEV;
	return 0;
}

static const struct devlink_ops mes_devlink_ops = { .eswitch_mode_get = mes_eswitch_mode_get };

static struct net_device *mes_netdev_create(struct mes_port *port, const char *prefix, const char *port_name,
					    const struct net_device_ops *ops)
{
	struct net_device *dev = alloc_etherdev(sizeof(struct mes_end));
	struct mes_end *end;
	int err;

	if (!dev)
		return ERR_PTR(-ENOMEM);
	end = netdev_priv(dev);
	end->port = port;
	snprintf(dev->name, sizeof(dev->name), "%s_%s", prefix, port_name);
	dev->netdev_ops = ops;
	dev->ethtool_ops = &mes_ethtool_ops;
	dev->priv_flags |= IFF_NO_QUEUE;
	dev->features |= NETIF_F_HW_VLAN_CTAG_TX;
	dev->hw_features |= NETIF_F_HW_VLAN_CTAG_TX;
	eth_hw_addr_random(dev);
	netif_carrier_off(dev);
	if (ops == &mes_representor_ops) {
		SET_NETDEV_DEV(dev, &mes_device->dev);
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
		SET_NETDEV_DEVLINK_PORT(dev, &port->devlink_port);
#endif
	}
	err = register_netdev(dev);
	if (err) {
		free_netdev(dev);
		return ERR_PTR(err);
	}
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
	if (ops == &mes_representor_ops)
		devlink_port_type_eth_set(&port->devlink_port, dev);
#endif
	return dev;
}

static int mes_port_create(struct mes_port *port, unsigned int index)
{
	/* The switch id is "MDLESW" and a number. Port 0 is the uplink, port i the representor of VF i - 1. */
	struct devlink_port_attrs attrs = {
		.switch_id = { .id = { 0x4d, 0x44, 0x4c, 0x45, 0x53, 0x57, 0x00, 0x01 }, .id_len = 8 },
	};
	struct net_device *dev;
	char name[8];
	int err;

	if (index == 0) {
		attrs.flavour = DEVLINK_PORT_FLAVOUR_PHYSICAL;
		snprintf(name, sizeof(name), "p0");
	} else {
		attrs.flavour = DEVLINK_PORT_FLAVOUR_PCI_VF;
		attrs.pci_vf.vf = index - 1;
		snprintf(name, sizeof(name), "vf%u", (index - 1) % MES_MAX_VFS);
	}
	devlink_port_attrs_set(&port->devlink_port, &attrs);
	err = devlink_port_register(mes_devlink, &port->devlink_port, index);
	if (err)
		return err;
	port->devlink_registered = true;

	dev = mes_netdev_create(port, "far", name, &mes_far_ops);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	port->far = dev;
	dev = mes_netdev_create(port, "mes", name, &mes_representor_ops);
	if (IS_ERR(dev))
		return PTR_ERR(dev);
	port->representor = dev;
	return 0;
}

/* Removing a netdev takes it out of its bridge and hence its entries out of the table, and waits for its works, which hold
 * a reference. The representors go first, because their data path needs the far ends.
 */
static void mes_ports_destroy(void)
{
	unsigned int i;

	for (i = 0; i < mes_port_count; i++) {
		if (!mes_ports[i].representor)
			continue;
#if LINUX_VERSION_CODE < KERNEL_VERSION(6, 2, 0)
		devlink_port_type_clear(&mes_ports[i].devlink_port);
#endif
		unregister_netdev(mes_ports[i].representor);
	}
	for (i = 0; i < mes_port_count; i++)
		if (mes_ports[i].far)
			unregister_netdev(mes_ports[i].far);
	/* No far end sends any more, so nothing refers to a netdev that is freed here. */
	for (i = 0; i < mes_port_count; i++) {
		if (mes_ports[i].representor)
			free_netdev(mes_ports[i].representor);
		if (mes_ports[i].far)
			free_netdev(mes_ports[i].far);
		if (mes_ports[i].devlink_registered)
			devlink_port_unregister(&mes_ports[i].devlink_port);
	}
}

static void mes_destroy(void)
{
	/* Removing netdevs waits for the works. */
	delay_ms = 0;
	queue_delay_ms = 0;
	debugfs_remove_recursive(mes_debugfs);
	devlink_unregister(mes_devlink);
	cancel_delayed_work_sync(&mes_tick_item);
	mes_ports_destroy();
	debugfs_remove_recursive(mes_mlx5_debugfs);
	unregister_netdevice_notifier_net(&init_net, &mes_netdevice_block);
	unregister_switchdev_blocking_notifier(&mes_switchdev_blocking_block);
	unregister_switchdev_notifier(&mes_switchdev_block);
	destroy_workqueue(mes_queue);
	devlink_free(mes_devlink);
	platform_device_unregister(mes_device);
	kvfree(mes_ports);
	rcu_barrier();
}

static int __init mes_init(void)
{
	unsigned int i;
	int err;

	if (vfs > MES_MAX_VFS)
		return -EINVAL;
	mes_port_count = vfs + 1;
	mes_ports = kvcalloc(mes_port_count, sizeof(*mes_ports), GFP_KERNEL);
	if (!mes_ports)
		return -ENOMEM;
	mes_device = platform_device_register_simple("model_eswitch", PLATFORM_DEVID_NONE, NULL, 0);
	if (IS_ERR(mes_device)) {
		err = PTR_ERR(mes_device);
		goto free_ports;
	}
	err = -ENOMEM;
	mes_devlink = devlink_alloc(&mes_devlink_ops, 0, &mes_device->dev);
	if (!mes_devlink)
		goto unregister_device;
	mes_queue = alloc_ordered_workqueue("model_eswitch", 0);
	if (!mes_queue)
		goto free_devlink;
	err = register_switchdev_notifier(&mes_switchdev_block);
	if (err)
		goto destroy_queue;
	err = register_switchdev_blocking_notifier(&mes_switchdev_blocking_block);
	if (err)
		goto unregister_switchdev;
	/* Bridges of other network namespaces are not offloaded, as in mlx5. */
	err = register_netdevice_notifier_net(&init_net, &mes_netdevice_block);
	if (err)
		goto unregister_blocking;

	devlink_register(mes_devlink);
	queue_delayed_work(mes_queue, &mes_tick_item, msecs_to_jiffies(1000));
	mes_debugfs = debugfs_create_dir("model_eswitch", NULL);
	debugfs_create_file("fdb", 0400, mes_debugfs, NULL, &mes_table_fops);
	mes_mlx5_debugfs = debugfs_create_dir("mlx5", NULL);
	mes_mlx5_bridges = debugfs_create_dir("bridge", debugfs_create_dir("esw",
					      debugfs_create_dir("model_eswitch", mes_mlx5_debugfs)));
	for (i = 0; i < mes_port_count; i++) {
		err = mes_port_create(&mes_ports[i], i);
		if (err) {
			mes_destroy();
			return err;
		}
	}
	return 0;

unregister_blocking:
	unregister_switchdev_blocking_notifier(&mes_switchdev_blocking_block);
unregister_switchdev:
	unregister_switchdev_notifier(&mes_switchdev_block);
destroy_queue:
	destroy_workqueue(mes_queue);
free_devlink:
	devlink_free(mes_devlink);
unregister_device:
	platform_device_unregister(mes_device);
free_ports:
	kvfree(mes_ports);
	return err;
}

module_init(mes_init);
module_exit(mes_destroy);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Model of an SR-IOV NIC's embedded switch under a Linux bridge");
