import java.security.Provider;
import java.security.spec.AlgorithmParameterSpec;
import java.util.Arrays;
import java.util.Objects;
import javax.crypto.KeyGenerator;
import javax.crypto.Mac;
import javax.crypto.SecretKey;
import javax.crypto.SecretKeyFactory;
import javax.crypto.spec.SecretKeySpec;
import sun.security.internal.spec.TlsKeyMaterialParameterSpec;
import sun.security.internal.spec.TlsKeyMaterialSpec;
import sun.security.internal.spec.TlsMasterSecretParameterSpec;
import sun.security.internal.spec.TlsPrfParameterSpec;
import sun.security.internal.spec.TlsRsaPremasterSecretParameterSpec;

/** Secret keys: made, brought in, and the derivations of TLS that JSSE asks of its providers. */
class Secrets {
    private static final byte[] CLIENT = Walk.random(32);
    private static final byte[] SERVER = Walk.random(32);

    static int[] keyBytes(String name) {
        if (name.matches("AES_\\d+/.*")) {
            return new int[] {Integer.parseInt(name.substring(4, 7)) / 8};
        }
        return name.startsWith("AES") ? new int[] {16, 24, 32} : new int[] {name.startsWith("DESede") ? 24 : 32};
    }

    static SecretKey key(String algorithm, int bytes) {
        byte[] value = Walk.random(bytes);
        for (int at = 0; algorithm.equals("DESede") && at < bytes; at++) {
            value[at] ^= (byte) (Integer.bitCount(value[at] & 0xff) % 2 == 0 ? 1 : 0);
        }
        return new SecretKeySpec(value, algorithm);
    }

    static void factory(String name) throws Exception {
        for (int bytes : keyBytes(name)) {
            SecretKey given = key(name, bytes);
            SecretKeyFactory factory = SecretKeyFactory.getInstance(name, Walk.token);
            SecretKey found = factory.translateKey(given);
            Walk.same(given.getEncoded(), found.getEncoded(), "the key");
            if (!name.equals("ChaCha20")) { // the JDK has no SecretKeySpec of it in getKeySpec
                var spec = (SecretKeySpec) factory.getKeySpec(found, SecretKeySpec.class);
                Walk.same(given.getEncoded(), spec.getEncoded(), "the key's specification");
            }
        }
    }

    static void generator(String name) throws Exception {
        if (name.startsWith("SunTls")) {
            tls(name);
        } else if (name.startsWith("Hmac")) {
            SecretKey key = KeyGenerator.getInstance(name, Walk.token).generateKey();
            Mac ours = Mac.getInstance(name, Walk.token);
            Mac theirs = Mac.getInstance(name);
            ours.init(key);
            theirs.init(new SecretKeySpec(key.getEncoded(), name));
            Walk.same(theirs.doFinal(Walk.TEXT), ours.doFinal(Walk.TEXT), "the MAC");
        } else {
            for (int bytes : keyBytes(name)) {
                KeyGenerator generator = KeyGenerator.getInstance(name, Walk.token);
                generator.init(name.equals("DESede") ? 168 : 8 * bytes);
                byte[] first = generator.generateKey().getEncoded();
                Walk.check(first.length == bytes, "a key of " + first.length + " bytes");
                Walk.check(!Arrays.equals(first, generator.generateKey().getEncoded()), "a key came twice");
            }
        }
    }

    private static void tls(String name) throws Exception {
        boolean newer = name.contains("12");
        Walk.check(newer || !name.contains("Tls12"), name);
        if (name.endsWith("PremasterSecret")) {
            byte[] value = made(Walk.token, name, new TlsRsaPremasterSecretParameterSpec(0x303, 0x303)).getEncoded();
            Walk.check(value.length == 48 && value[0] == 3 && value[1] == 3, "the premaster secret's version");
            return;
        }
        byte[] bytes = Walk.random(48);
        bytes[0] = 3;
        bytes[1] = (byte) (newer ? 3 : 1);
        SecretKey secret = new SecretKeySpec(bytes, name.endsWith("MasterSecret") ? "TlsRsaPremasterSecret" : "TlsMasterSecret");
        Walk.check(Objects.deepEquals(derived(null, name, secret, newer), derived(Walk.token, name, secret, newer)),
            "what was derived differs from the JDK's");
    }

    private static byte[][] derived(Provider from, String name, SecretKey secret, boolean newer) throws Exception {
        int minor = newer ? 3 : 1;
        String hash = newer ? "SHA-256" : "";
        int hashBytes = newer ? 32 : -1;
        int blockBytes = newer ? 64 : -1;
        if (name.endsWith("MasterSecret")) {
            return new byte[][] {made(from, name, new TlsMasterSecretParameterSpec(
                secret, 3, minor, CLIENT, SERVER, hash, hashBytes, blockBytes)).getEncoded()};
        }
        SecretKey master = made(null, newer ? "SunTls12MasterSecret" : "SunTlsMasterSecret",
            new TlsMasterSecretParameterSpec(new SecretKeySpec(secret.getEncoded(), "TlsRsaPremasterSecret"),
                3, minor, CLIENT, SERVER, hash, hashBytes, blockBytes));
        if (name.endsWith("Prf")) {
            return new byte[][] {made(from, name, new TlsPrfParameterSpec(
                master, "client finished", new byte[32], 12, hash, hashBytes, blockBytes)).getEncoded()};
        }
        var block = (TlsKeyMaterialSpec) made(from, name, new TlsKeyMaterialParameterSpec(
            master, 3, minor, CLIENT, SERVER, "AES", 16, 0, 16, 20, hash, hashBytes, blockBytes));
        return new byte[][] {
            block.getClientMacKey().getEncoded(), block.getServerMacKey().getEncoded(),
            block.getClientCipherKey().getEncoded(), block.getServerCipherKey().getEncoded(),
            block.getClientIv().getIV(), block.getServerIv().getIV(),
        };
    }

    private static SecretKey made(Provider from, String name, AlgorithmParameterSpec how) throws Exception {
        KeyGenerator generator = from == null ? KeyGenerator.getInstance(name) : KeyGenerator.getInstance(name, from);
        generator.init(how);
        return generator.generateKey();
    }
}
