import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.zookeeper.CreateMode;
import org.apache.zookeeper.KeeperException;
import org.apache.zookeeper.Watcher;
import org.apache.zookeeper.ZooDefs;
import org.apache.zookeeper.ZooKeeper;

/**
 * A client that writes and reads without end: one session that stays, and sessions of one write and one read each, which
 * need a new TLS handshake. java Visitor SERVERS
 *
 * A line on standard input is answered with the counts since the last one:
 * kept DONE FAILED sessions DONE FAILED longest MILLISECONDS errors NAME=COUNT,...
 */
public class Visitor {
    private static final int SESSION_MS = 20000;
    private final String servers;
    private final AtomicBoolean over = new AtomicBoolean();
    private final java.util.Map<String, Integer> errors = new java.util.TreeMap<>();
    private int kept, keptFailed, sessions, sessionsFailed;
    private long longestMs;

    Visitor(String servers) {
        this.servers = servers;
    }

    public static void main(String[] arguments) throws Exception {
        Visitor visitor = new Visitor(arguments[0]);
        Thread stays = new Thread(visitor::stay);
        Thread comes = new Thread(visitor::comeAndGo);
        stays.start();
        comes.start();
        BufferedReader asked = new BufferedReader(new InputStreamReader(System.in));
        while (asked.readLine() != null) {
            System.out.println(visitor.report());
        }
        visitor.over.set(true);
        stays.join();
        comes.join();
        System.exit(0);
    }

    private static ZooKeeper connect(String servers) throws Exception {
        CountDownLatch connected = new CountDownLatch(1);
        ZooKeeper session = new ZooKeeper(servers, SESSION_MS, event -> {
            if (event.getState() == Watcher.Event.KeeperState.SyncConnected) {
                connected.countDown();
            }
        });
        if (!connected.await(SESSION_MS, TimeUnit.MILLISECONDS)) {
            session.close();
            throw new java.util.concurrent.TimeoutException();
        }
        return session;
    }

    private static void writeAndRead(ZooKeeper session, String node, int number) throws Exception {
        byte[] value = Integer.toString(number).getBytes();
        try {
            session.setData(node, value, -1);
        } catch (KeeperException.NoNodeException absent) {
            session.create(node, value, ZooDefs.Ids.OPEN_ACL_UNSAFE, CreateMode.PERSISTENT);
        }
        byte[] read = session.getData(node, false, null);
        if (!java.util.Arrays.equals(read, value)) {
            throw new IllegalStateException("read " + new String(read) + " where " + number + " was written");
        }
    }

    private void stay() {
        ZooKeeper session = null;
        for (int number = 0; !over.get(); number++) {
            long began = System.nanoTime();
            try {
                if (session == null || !session.getState().isAlive()) {
                    session = connect(servers);
                }
                writeAndRead(session, "/stays", number);
                count(true, null, began);
                Thread.sleep(5);
            } catch (Exception error) {
                count(true, error, began);
                pause();
            }
        }
    }

    private void comeAndGo() {
        for (int number = 0; !over.get(); number++) {
            long began = System.nanoTime();
            try {
                ZooKeeper session = connect(servers);
                try {
                    writeAndRead(session, "/comes", number);
                } finally {
                    session.close();
                }
                count(false, null, began);
            } catch (Exception error) {
                count(false, error, began);
                pause();
            }
        }
    }

    private void pause() {
        try {
            Thread.sleep(50);
        } catch (InterruptedException error) {
            over.set(true);
        }
    }

    private synchronized void count(boolean stays, Exception error, long began) {
        longestMs = Math.max(longestMs, (System.nanoTime() - began) / 1_000_000);
        if (error != null) {
            errors.merge(error.getClass().getSimpleName(), 1, Integer::sum);
        }
        if (stays) {
            kept += error == null ? 1 : 0;
            keptFailed += error == null ? 0 : 1;
        } else {
            sessions += error == null ? 1 : 0;
            sessionsFailed += error == null ? 0 : 1;
        }
    }

    private synchronized String report() {
        StringBuilder names = new StringBuilder();
        errors.forEach((name, times) -> names.append(names.length() > 0 ? "," : "").append(name).append("=").append(times));
        String text = String.format("kept %d %d sessions %d %d longest %d errors %s", kept, keptFailed, sessions,
            sessionsFailed, longestMs, names.length() > 0 ? names : "none");
        kept = keptFailed = sessions = sessionsFailed = 0;
        longestMs = 0;
        errors.clear();
        return text;
    }
}
